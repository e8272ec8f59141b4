"""What one step of a pretraining read: its windows, and the parts of documents in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import tables
from tasks.passages import Passage, excerpt_of
from tasks.tokenization import CONTINUATION
from tasks.vocabulary import load_tokenizer

if TYPE_CHECKING:
    from models.shards import TokenShard


@dataclass(frozen=True)
class PretrainingReading:
    """A shard and the numbers that decide which of its windows a step reads."""

    shard: TokenShard
    tokenizer: Path
    documents: Path | None  # where they are from; without it that is left empty
    steps: int
    context_length: int
    batch_size: int
    seed: int

    def windows(self, step: int) -> list[int]:
        """Offsets of the windows of ``step``, from 1."""
        from models.loader import WindowSampler

        sampler = WindowSampler(
            self.shard, context_length=self.context_length, batch_size=self.batch_size, seed=self.seed
        )
        return [int(offset) for offset in sampler.windows_of(step - 1)]

    def passages(self, step: int) -> Iterable[Passage]:
        """The parts of documents in the windows of ``step``, from 1."""
        from models.seen import pieces_of

        tokenizer, ids = load_tokenizer(self.tokenizer), self.shard.documents.ids
        found = [
            (number, piece)
            for number, window in enumerate(self.windows(step))
            for piece in pieces_of(self.shard, window, self.context_length)
        ]
        about = (
            _provenance(self.documents, {ids[piece.document] for _, piece in found}) if self.documents else {}
        )
        for number, piece in found:
            tokens = self.shard.tokens[piece.start : piece.start + piece.tokens]
            known = about.get(ids[piece.document], {})
            yield Passage(
                window=number,
                document=ids[piece.document],
                source=str(known.get("source", "")),
                uri=str(known.get("uri", "")),
                licence=str(known.get("licence", "")),
                first=piece.first,
                tokens=piece.tokens,
                excerpt=excerpt_of(tokenizer, tokens.tolist()),
            )


def reading_of(
    tokens: Path, training: Mapping[str, Any], *, continued: bool, documents: Path | None = None
) -> PretrainingReading:
    """What a training with these settings reads of a tokenization artefact's folder."""
    from models.shards import TokenShard

    return PretrainingReading(
        shard=TokenShard(tokens, CONTINUATION if continued else "train"),
        tokenizer=tokens / "tokenizer.json",
        documents=documents,
        steps=int(training["steps"]),
        context_length=int(training["context_length"]),
        batch_size=int(training["batch_size"]),
        seed=int(training["seed"]),
    )


def _provenance(documents: Path, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Where documents are from, of those that are asked for; the texts are not read."""
    columns = ["id", "source", "uri", "licence"]
    return {row["id"]: row for row in tables.iterate(documents, columns) if row["id"] in ids}
