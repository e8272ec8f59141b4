"""`unveil explain`: which tokens a prediction hangs on, in the terminal and as a page that can be passed on."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.writing import newest_artifact, visible
from tasks.artifacts import Artifact, fingerprint_of
from tasks.environment import workspace
from tasks.errors import ConfigError

if TYPE_CHECKING:
    from models.attribution import Attribution
    from models.predictions import Prediction
    from tasks.reporting.explanation_page import Explained, Source

SENTIMENT, QUESTION_ANSWERING, NEXT_TOKEN = "sentiment", "question-answering", "next-token"
_STAGES = {
    SENTIMENT: "finetuning-sentiment",
    QUESTION_ANSWERING: "finetuning-question-answering",
    NEXT_TOKEN: "pretraining",
}
_UNITS = {
    SENTIMENT: "probability: +0.10 is ten percentage points",
    QUESTION_ANSWERING: "the model's scores of the answer's first and last token, added up (logits)",
    NEXT_TOKEN: "log-probability (nats): +0.69 doubles it",
}
_NEIGHBOURS = 3
_CHANCES = 20
_GREENS, _REDS = (22, 28, 34, 40), (52, 88, 124, 160)  # of the 256 colours, on all of which white can be read
_DIGITS = 12


@dataclass(frozen=True)
class _Asked:
    """A prediction, and what else the model thought of."""

    prediction: Prediction
    alternatives_title: str
    alternatives: tuple[tuple[str, float], ...]


def explain(options: argparse.Namespace) -> None:
    """Explain one prediction: print it, and write its page.

    Raises:
        ConfigError: options that do not fit the task, no model yet, a model of another task, a text it cannot take.
    """
    _check(options)
    folder = (
        Path(options.model) if options.model else newest_artifact(workspace(), _STAGES[options.task]).path
    )
    from models.attribution import attribute

    try:
        asked = _ASK[options.task](folder, options)
        found = attribute(asked.prediction)
    except (OSError, ValueError) as error:
        raise ConfigError(
            str(error), where=folder, remedy=f"give a model for {options.task}, and a text that it can take"
        ) from error
    explained = _explained(options, asked, found)
    page = _write(explained, options)
    _tell(explained, found, options)
    sys.stdout.write(f"\npage  {page}\n")


def _check(options: argparse.Namespace) -> None:
    asks = options.task == QUESTION_ANSWERING
    if asks != bool(options.question):
        problem = "a question is needed" if asks else f"{options.task} takes no question"
        raise ConfigError(problem, where="--question", remedy="see `unveil explain --help`")
    for name in ("text", "question"):
        try:
            (getattr(options, name) or "").encode("utf-8")
        except UnicodeEncodeError as error:
            problem = f"is not valid Unicode at character {error.start}"
            raise ConfigError(problem, where=name, remedy="give it as UTF-8") from error


def _ask_sentiment(folder: Path, options: argparse.Namespace) -> _Asked:
    from models.classification import classify
    from models.export import load_tokenizer
    from models.head_export import load_head
    from models.heads import Classifier
    from models.predictions import label_prediction

    (head, config), tokenizer = load_head(folder), load_tokenizer(folder)
    if not isinstance(head, Classifier):
        raise ValueError(f"is a model for {config.task}")
    prediction = label_prediction(head, tokenizer, options.text, max_tokens=config.max_tokens)
    odds = classify(head, tokenizer, [options.text], max_tokens=config.max_tokens)[0].tolist()
    ranked = sorted(zip(head.labels, odds, strict=True), key=lambda each: -each[1])
    return _Asked(prediction, "All labels", tuple(ranked))


def _ask_question(folder: Path, options: argparse.Namespace) -> _Asked:
    from models.answering import answer
    from models.export import load_tokenizer
    from models.head_export import load_head
    from models.heads import SpanExtractor
    from models.predictions import span_prediction

    (head, config), tokenizer = load_head(folder), load_tokenizer(folder)
    if not isinstance(head, SpanExtractor):
        raise ValueError(f"is a model for {config.task}")
    given = answer(head, tokenizer, [options.question], [options.text], config=config)[0]
    prediction = span_prediction(
        head,
        tokenizer,
        options.question,
        options.text,
        max_tokens=config.max_tokens,
        answer=(given.start, given.start + len(given.text)) if given.text else None,
    )
    expected = (
        ("the best answer in the text", given.score),
        ("the text does not say", given.no_answer_score),
    )
    return _Asked(prediction, "Expected F1", expected)


def _ask_next_token(folder: Path, options: argparse.Namespace) -> _Asked:
    from models.export import load_pretrained, load_tokenizer
    from models.generation import GenerationConfig, generate_steps
    from models.predictions import next_token_prediction

    model, tokenizer = load_pretrained(folder), load_tokenizer(folder)
    config = GenerationConfig(max_new_tokens=1, temperature=0.0, top_k=0, top_p=1.0, top_candidates=5)
    step = next(iter(generate_steps(model, tokenizer, options.text, config)))
    prediction = next_token_prediction(model, tokenizer, options.text, token=step.token_id)
    candidates = tuple((_marked(each.text), each.probability) for each in step.candidates)
    return _Asked(prediction, "Likeliest next tokens", candidates)


_ASK: dict[str, Callable[[Path, argparse.Namespace], _Asked]] = {
    SENTIMENT: _ask_sentiment,
    QUESTION_ANSWERING: _ask_question,
    NEXT_TOKEN: _ask_next_token,
}


def _explained(options: argparse.Namespace, asked: _Asked, found: Attribution) -> Explained:
    import torch

    from tasks.reporting.explanation_page import Explained

    prediction = asked.prediction
    with torch.no_grad():
        row = torch.tensor([prediction.input_ids])
        probability = float(prediction.ask(prediction.probability, row))
    headline = _marked(prediction.target) if options.task == NEXT_TOKEN else prediction.target
    return Explained(
        task=options.task.replace("-", " "),
        headline=headline,
        probability=probability,
        pieces=found.pieces,
        scores=found.scores,
        unit=_UNITS[options.task],
        checks=tuple(_checks(prediction, found)),
        alternatives_title=asked.alternatives_title,
        alternatives=asked.alternatives,
        neighbours=_neighbours(options),
    )


def _checks(prediction: Prediction, found: Attribution) -> list[tuple[str, str]]:
    """How far the explanation holds, and what one by chance would do."""
    from models.attribution import random_attribution
    from models.faithfulness import faithfulness

    candidates = [found.scores, *(random_attribution(found, seed).scores for seed in range(_CHANCES))]
    ours, *others = faithfulness(prediction, candidates, "mask")

    def beside_chance(measure: str) -> str:
        chance = sum(getattr(each, measure) for each in others) / len(others)
        return f"{getattr(ours, measure):+.3f} (random: {chance:+.3f})"

    steps = found.trials[-1][0]
    return [
        (
            "completeness error",
            f"{found.completeness_error:.2%} in {steps} steps{'' if found.complete else ', too much'}",
        ),
        ("value of the text", f"{found.value:+.3f} (words hidden: {found.baseline_value:+.3f})"),
        ("probability lost without the top tokens, high is good", beside_chance("comprehensiveness")),
        ("probability lost with only the top tokens, low is good", beside_chance("sufficiency")),
    ]


def _neighbours(options: argparse.Namespace) -> tuple[Source, ...]:
    """Training documents like the text, where the workspace has them."""
    from tasks.evaluation.similar import nearest
    from tasks.reporting.explanation_page import Source

    cleaning = _training_documents(options)
    if cleaning is None:
        return ()
    return tuple(
        Source(each.id, each.excerpt, each.source, each.licence)
        for each in nearest(options.text, cleaning, _NEIGHBOURS)
    )


def _training_documents(options: argparse.Namespace) -> Artifact | None:
    """The documents of the run that made the model; of a folder given by hand nobody knows them."""
    if options.model:
        return None
    try:
        return newest_artifact(workspace(), "cleaning", beside=_STAGES[options.task])
    except ConfigError:
        return None


def _write(explained: Explained, options: argparse.Namespace) -> Path:
    from tasks.reporting.explanation_page import explanation_page

    key = fingerprint_of({"text": options.text, "question": options.question, "model": options.model})
    name = f"{options.task}-{key[:_DIGITS]}.html"
    path = Path(options.html) if options.html else workspace() / "explanations" / name
    try:
        if not options.html:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(explanation_page(explained), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the page cannot be written ({error.strerror})", where=path, remedy="give another --html FILE"
        ) from error
    return path


def _tell(explained: Explained, found: Attribution, options: argparse.Namespace) -> None:
    coloured = options.colour or (sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    show = coloured_tokens if coloured else plain_tokens
    lines = [f"{explained.task}: {visible(explained.headline)} ({explained.probability:.1%})", ""]
    lines += [show(explained.pieces, explained.scores), ""]
    if options.steps:
        lines += [f"{steps:>5} steps   completeness error {error:.3%}" for steps, error in found.trials] + [
            ""
        ]
    lines += [f"{name}: {value}" for name, value in explained.checks]
    if explained.alternatives:
        told = "  ".join(f"{visible(name)} {value:.1%}" for name, value in explained.alternatives)
        lines.append(f"{explained.alternatives_title.lower()}: {told}")
    if explained.neighbours:
        lines += ["", "training documents most like it:"]
        lines += [
            f"  {_one_line(f'{each.source}, {each.licence}: {each.excerpt}')}"
            for each in explained.neighbours
        ]
    sys.stdout.write("\n".join(lines) + "\n")


def plain_tokens(pieces: tuple[str, ...], scores: tuple[float, ...]) -> str:
    """Every token with its score behind it."""
    from tasks.reporting.attribution_html import merged

    return " ".join(
        f"{_marked(piece.strip() or piece)}{score:+.2f}" for piece, score in merged(pieces, scores)
    )


def coloured_tokens(pieces: tuple[str, ...], scores: tuple[float, ...]) -> str:
    """The text with backgrounds from red (against) to green (for)."""
    from tasks.reporting.attribution_html import LEVELS, level, merged

    joined = merged(pieces, scores)
    strongest = max((abs(score) for _, score in joined), default=0.0)
    text = ""
    for piece, score in joined:
        shade = level(score, strongest)
        colour = (_GREENS if shade > 0 else _REDS)[abs(shade) * (len(_GREENS) - 1) // LEVELS]
        begin, end = (f"\x1b[38;5;231;48;5;{colour}m", "\x1b[0m") if shade else ("", "")
        text += "\n".join(f"{begin}{line}{end}" if line else "" for line in visible(piece).split("\n"))
    return text


def _marked(text: str) -> str:
    """A token with the white space that it is or has made plain."""
    return visible(text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥"))


def _one_line(text: str) -> str:
    return " ".join(visible(text).split())
