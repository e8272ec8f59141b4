"""A fine-tuned model as a folder: the trunk as a Hugging Face model, its head beside it, both safetensors.

The folder loads in `transformers` as a `Qwen3ForCausalLM` (of a classifier or span extractor: its trunk); what
the head is, says `head.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.export import load_pretrained, save_pretrained
from models.heads import QUESTION_ANSWERING, SENTIMENT, TRANSLATION, Classifier, SpanExtractor, Translator

HEAD, HEAD_WEIGHTS = "head.json", "head.safetensors"
AnyHead = Classifier | SpanExtractor | Translator


class HeadConfig(BaseModel):
    """What `head.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(pattern=f"^({SENTIMENT}|{QUESTION_ANSWERING}|{TRANSLATION})$")
    labels: tuple[str, ...] = ()
    bidirectional: bool = False
    max_tokens: int = Field(ge=1, description="Tokens of an example in training: what it is used to.")
    settings: dict[str, float] = Field(
        {}, description="Numbers chosen on validation data, such as a threshold."
    )
    place_prior: tuple[float, ...] = Field(
        (), max_length=64, description="Log-odds of an answer's place, by octave; see `models.place_prior`."
    )

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        if self.task == SENTIMENT and (len(self.labels) < 2 or len(set(self.labels)) < len(self.labels)):
            raise ValueError(f"labels {list(self.labels)}: a classifier has two or more, each once")
        return self


def save_head(
    head: AnyHead,
    folder: Path,
    tokenizer_json: Path,
    *,
    max_tokens: int,
    settings: dict[str, float],
    place_prior: tuple[float, ...] = (),
) -> None:
    """Write a head and the trunk under it. The same weights give the same bytes."""
    save_pretrained(head.model, folder, tokenizer_json)
    score = {} if isinstance(head, Translator) else head.score.state_dict()
    if score:
        save_file({name: weight.contiguous() for name, weight in score.items()}, folder / HEAD_WEIGHTS)
    config = HeadConfig(
        task=head.task,
        labels=head.labels if isinstance(head, Classifier) else (),
        bidirectional=False if isinstance(head, Translator) else head.bidirectional,
        max_tokens=max_tokens,
        settings=settings,
        place_prior=place_prior,
    )
    described = json.dumps(config.model_dump(mode="json"), indent=2, sort_keys=True)
    (folder / HEAD).write_text(described + "\n", encoding="utf-8")


def load_head(folder: Path) -> tuple[AnyHead, HeadConfig]:
    """Read what `save_head` wrote, onto the CPU in evaluation mode.

    Raises:
        ValueError: one line naming the file and what is wrong.
    """
    config = _head_config(folder / HEAD)
    model = load_pretrained(folder)
    head: Any
    if config.task == TRANSLATION:
        return Translator(model).eval(), config
    if config.task == SENTIMENT:
        head = Classifier(model, config.labels, bidirectional=config.bidirectional)
    else:
        head = SpanExtractor(model, bidirectional=config.bidirectional)
    try:
        head.score.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or "no message"
        raise ValueError(f"{folder / HEAD_WEIGHTS} does not hold the head's weights: {reason}") from error
    if not all(bool(weight.isfinite().all()) for weight in head.score.parameters()):
        raise ValueError(f"{folder / HEAD_WEIGHTS} holds a weight that is not finite")
    return head.eval(), config


def _head_config(path: Path) -> HeadConfig:
    try:
        return HeadConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()) or "no message"
        raise ValueError(f"{path} does not describe a head: {reason}") from error
