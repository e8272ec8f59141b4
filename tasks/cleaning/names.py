"""Names of people, and whatever else a model of one's own tells apart, replaced by what kind they are.

Names have no structure to find them by; it takes a model that has learnt to tag words, and there is none that comes
with a package. Who has one (a folder of Hugging Face's, for token classification) gives it; without one, names stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tasks.artifacts import sha256_of
from tasks.cleaning import pii
from tasks.cleaning.changes import Change
from tasks.cleaning.language import identify
from tasks.cleaning.standardisation import standardise
from tasks.config import StageConfig
from tasks.errors import ConfigError, describe, one_line

if TYPE_CHECKING:
    from tasks.cleaning.config import CleaningConfig
    from tasks.cleaning.pool import Prepared

RULE = "named-entities"
_WHERE = "cleaning.names.model"
_REMEDY = "give the folder of a token classification model of Hugging Face, with model.safetensors and tokenizer.json"
_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_PREFIX = re.compile(r"[BIELSU]-")  # of a label: where in an entity the word stands
_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z-]*\]")
_MOST_TOKENS = 512
_OVERLAP = 64  # tokens that two windows share, so that most words are seen with what is around them
_ROUNDS = 8

Placeholder = Annotated[str, Field(pattern=r"^[A-Z][A-Z-]{0,31}$")]


class NamesConfig(StageConfig):
    """A model that finds names in documents, and which of its finds are replaced."""

    model: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of a token classification model of Hugging Face (safetensors, and a tokenizer.json). "
        "Without one, names stay in the text.",
    )
    placeholders: dict[str, Placeholder] = Field(
        default={"PER": "PERSON", "PERSON": "PERSON"},
        min_length=1,
        max_length=100,
        description="What stands in for the words of each of the model's labels, without B- and I-. Others are left.",
    )
    threshold: float = Field(
        default=0.5, ge=0.0, lt=1.0, description="Least probability of a label for a word to be taken."
    )


def observe(config: CleaningConfig, fetch: bool = True) -> dict[str, str]:
    """The digests of the model's files, which the outcome depends on.

    Raises:
        ConfigError: there is no such model.
    """
    if config.names.model is None:
        return {}
    folder = Path(config.names.model)
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder} has no {missing[0]}", where=_WHERE, remedy=_REMEDY)
    return {f"names/{name}": sha256_of(folder / name) for name in _FILES}


class Names:
    """Replaces names in prepared documents; does nothing without a model."""

    def __init__(self, config: NamesConfig, kinds: Collection[str]) -> None:
        """Load the model, if there is one; `kinds` of personal data are looked for again beside what it takes.

        Raises:
            ConfigError: it cannot be loaded, would need pickle or code of its own, or knows none of the labels.
        """
        self._kinds = kinds
        self._tagger = None if config.model is None else _Tagger(config)

    def without(self, document: Prepared) -> Prepared:
        """The document without names, its change noted; a second call finds nothing more."""
        if self._tagger is None:
            return document
        text, counts = self._replaced(document.text, self._tagger)
        if not counts:
            return document
        before, after = len(document.text.encode()), len(text.encode())
        reason = "replaced: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        change = Change(RULE, reason, counts.total(), before, after)
        return document._replace(
            text=text,
            language=identify(text),
            masked=dict(Counter(document.masked) + counts),
            changes=(*document.changes, change),
        )

    def _replaced(self, text: str, tagger: _Tagger) -> tuple[str, Counter[str]]:
        """Replace until nothing is found: what is left stands in other words then, and may be read differently."""
        counts: Counter[str] = Counter()
        rounds = 0
        while True:
            masked, rounds = pii.mask(text, self._kinds), rounds + 1
            parts, place, found = [], 0, 0
            for start, end, placeholder in tagger.find(masked.text):
                if rounds > _ROUNDS:  # made to be endless: the line goes as a whole
                    start = max(place, masked.text.rfind("\n", 0, start) + 1)
                    end = masked.text.find("\n", end) % (len(masked.text) + 1)
                if start < place:
                    continue
                parts += [masked.text[place:start], f"[{placeholder}]"]
                place, found = end, found + 1
                counts[placeholder.lower()] += 1
            counts += Counter(masked.counts)
            text = standardise("".join([*parts, masked.text[place:]]))
            if not found and not masked.counts:
                return text, counts


class _Tagger:
    """A model for token classification and its tokenizer, on one processor core or many, without gradients."""

    def __init__(self, config: NamesConfig) -> None:
        folder = Path(str(config.model))
        try:
            from tokenizers import Tokenizer
            from transformers import AutoModelForTokenClassification
        except ImportError as error:
            remedy = "pip install 'unveil[transformers]', or leave out the model"
            raise ConfigError("needs the package transformers", where=_WHERE, remedy=remedy) from error
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._model: Any = AutoModelForTokenClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            ).eval()
        except Exception as error:  # both libraries report what they cannot read in many ways
            problem = f"{folder} cannot be loaded ({one_line(describe(error), 200)})"
            raise ConfigError(problem, where=_WHERE, remedy=_REMEDY) from error
        self._threshold = config.threshold
        self._placeholders = _chosen(self._model.config.id2label, config.placeholders)
        most = getattr(self._model.config, "max_position_embeddings", _MOST_TOKENS)
        self._tokenizer.no_padding()
        length = min(_MOST_TOKENS, most)
        self._tokenizer.enable_truncation(length, stride=min(_OVERLAP, length // 4))

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where names stand, with their placeholders: whole words, and words of one name together."""
        tags = [""] * len(text)
        for start, end, placeholder in self._tokens(text):
            while start and text[start - 1].isalnum():
                start -= 1
            while end < len(text) and text[end].isalnum():
                end += 1
            tags[start:end] = [placeholder] * (end - start)
        for _, end, placeholder in list(_runs(tags)):  # a first name and a last one are one name
            if text[end : end + 1] == " " and tags[end + 1 : end + 2] == [placeholder]:
                tags[end] = placeholder
        for match in _PLACEHOLDER.finditer(text):
            tags[match.start() : match.end()] = [""] * len(match[0])
        for start, end, placeholder in _runs(tags):
            if any(map(str.isalnum, text[start:end])):
                yield start, end, placeholder

    def _tokens(self, text: str) -> Iterator[tuple[int, int, str]]:
        import torch

        first = self._tokenizer.encode(text)
        for window in (first, *first.overflowing):
            if not window.ids:
                continue
            with torch.inference_mode():
                scores = self._model(input_ids=torch.tensor([window.ids])).logits[0].float().softmax(-1)
            best = scores.max(-1)
            for place, (start, end) in enumerate(window.offsets):
                placeholder = self._placeholders.get(int(best.indices[place]), "")
                if placeholder and end > start and float(best.values[place]) >= self._threshold:
                    yield start, end, placeholder


def _chosen(labels: Mapping[int, str], placeholders: Mapping[str, str]) -> dict[int, str]:
    """The placeholder of each label's number.

    Raises:
        ConfigError: no label is wanted, so that nothing would ever be found.
    """
    plain = {int(number): _PREFIX.sub("", label, count=1) for number, label in labels.items()}
    found = {number: placeholders[label] for number, label in plain.items() if label in placeholders}
    if not found:
        known = ", ".join(sorted(set(plain.values()))[:20])
        problem = f"none of {', '.join(placeholders)} is a label of the model"
        raise ConfigError(problem, where="cleaning.names.placeholders", remedy=f"it knows {one_line(known)}")
    return found


def _runs(tags: list[str]) -> Iterator[tuple[int, int, str]]:
    place = 0
    for tag, group in groupby(tags):
        size = sum(1 for _ in group)
        if tag:
            yield place, place + size, tag
        place += size
