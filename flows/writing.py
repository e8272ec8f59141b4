"""`unveil generate`: load the newest model and write, showing each step when asked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tasks.artifacts import Artifact, verify
from tasks.environment import workspace
from tasks.errors import ConfigError
from tasks.ledgers import newest

if TYPE_CHECKING:
    from models.generation import GenerationConfig, GenerationStep


def write(options: argparse.Namespace) -> None:
    """Continue the prompt with the chosen model, streaming the text to stdout."""
    config = _config(options)
    folder = Path(options.model) if options.model else newest_model(workspace())
    from models.export import load_pretrained, load_tokenizer
    from models.generation import generate_steps

    try:
        model, tokenizer = load_pretrained(folder), load_tokenizer(folder)
        steps = generate_steps(model, tokenizer, options.prompt, config)
    except (OSError, ValueError) as error:
        raise ConfigError(
            str(error), where=folder, remedy="give a model folder and a shorter prompt"
        ) from error
    if options.show_steps:
        tokenizer.encode_special_tokens = True  # As the model reads the prompt: it spells no control token.
        _show_analysis(tokenizer.encode(options.prompt).tokens)
    else:
        sys.stdout.write(visible(options.prompt))
    written = ""
    for step in steps:
        written += step.text
        sys.stdout.write(_shown(step) if options.show_steps else visible(step.text))
        sys.stdout.flush()
    sys.stdout.write(f"\noutput      {visible(options.prompt + written)}\n" if options.show_steps else "\n")


def newest_model(home: Path) -> Path:
    """The verified model folder of the newest run that has one. Raises as `newest_artifact`."""
    return newest_artifact(home, "pretraining").path


def newest_artifact(home: Path, stage: str, beside: str = "") -> Artifact:
    """What a stage made in the newest run that has it, verified; with ``beside``, in the newest that has both.

    Raises:
        ConfigError: no run has made one yet.
        ArtifactError: it was altered.
    """

    def has_them(ledger: dict[str, Any]) -> bool:
        stages = ledger.get("stages", {})
        made = [stages.get(name, {}).get("artifact") for name in (stage, beside or stage)]
        return all(artifact and Path(artifact).is_dir() for artifact in made)

    found = newest(home, has_them)
    if found is not None:
        return verify(Path(found["stages"][stage]["artifact"]))
    what = "model" if stage == "pretraining" else f"result of {stage}"
    raise ConfigError(f"no {what} yet", where=home, remedy="run `unveil run` first, or give --model FOLDER")


def visible(text: str) -> str:
    """Text of a model or a user as a terminal may show it: newlines and tabs stay, other control characters do not."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\u{ord(c):04x}" for c in text)


def _config(options: argparse.Namespace) -> GenerationConfig:
    from models.generation import GenerationConfig

    try:
        return GenerationConfig(
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed,
            stop=tuple(options.stop),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ConfigError(first["msg"], where=option, remedy="see `unveil generate --help`") from error


def _show_analysis(tokens: list[str]) -> None:
    shown = " ".join(f"[{_piece(token)}]" for token in tokens)
    sys.stdout.write(f"input       {len(tokens)} tokens: {shown}\n")


def _shown(step: GenerationStep) -> str:
    candidates = "  ".join(f"{_quoted(c.text)} {c.probability:.1%}" for c in step.candidates)
    chosen = next((c.text for c in step.candidates if c.token_id == step.token_id), step.text)
    return (
        f"step {step.step + 1:<4}   analysis of {step.context_tokens} tokens: {candidates}\n"
        f"            prediction {_quoted(chosen)} ({step.probability:.1%})\n"
    )


def _quoted(text: str) -> str:
    return repr(visible(text)) if text.isascii() else f"'{visible(text)}'"


def _piece(token: str) -> str:
    """A byte-level token as it looks in the vocabulary, with its space mark made plain."""
    return visible(token.replace("Ġ", "␣").replace("Ċ", "⏎"))
