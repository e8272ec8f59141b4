"""What the report reads: the summaries and small files of the artefacts, nothing computed anew."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks import tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError

Row = dict[str, Any]
SPLITS = ("train", "validation", "test")
LABELLED = ("question-answering", "sentiment", "translation")


@dataclass
class Evidence:
    """The artefacts of a run, with what several sections need of them read once."""

    artifacts: Mapping[str, Artifact]

    def summary(self, stage: str) -> dict[str, Any]:
        """What a stage told about its work."""
        return self.artifacts[stage].summary()

    def json(self, stage: str, name: str) -> Any:
        """One JSON file of an artefact.

        Raises:
            ArtifactError: it is missing or not JSON.
        """
        path = self.artifacts[stage].file(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"cannot be read as JSON ({error})", stage="reporting", where=path) from error

    def optional(self, stage: str, name: str) -> Path | None:
        """A file that older artefacts may lack."""
        path = self.artifacts[stage].path / name
        return path if path.is_file() else None

    @cached_property
    def records(self) -> list[Row]:
        """Every number of the evaluation."""
        rows: list[Row] = tables.read_arrow(self.artifacts["evaluation"].file("records.parquet")).to_pylist()
        return rows

    @cached_property
    def suites(self) -> frozenset[str]:
        """The examinations that left a number."""
        return frozenset(row["suite"] for row in self.records)

    @cached_property
    def shown(self) -> dict[str, Any]:
        """What each examination gave to be looked at, by its name; empty where it gave nothing.

        Raises:
            ArtifactError: there is such a file, and it is not a JSON object.
        """
        if self.optional("evaluation", "shown.json") is None:
            return {}
        found = self.json("evaluation", "shown.json")
        if not isinstance(found, dict):
            where = self.artifacts["evaluation"].file("shown.json")
            raise ArtifactError("is not a JSON object", stage="reporting", where=where)
        return found

    @cached_property
    def languages(self) -> list[str]:
        """Languages of the kept documents, the one with most documents first; unknown ones left out."""
        path = self.artifacts["cleaning"].file("documents.parquet")
        found = Counter(row["language"] for row in tables.read_arrow(path, ["language"]).to_pylist())
        named = {name: count for name, count in found.items() if name and name != "und"}
        return sorted(named, key=lambda name: (-named[name], name))

    @cached_property
    def objective(self) -> str:
        """What the model was trained to do: causal, masked or hybrid."""
        return str(self.summary("evaluation")["objective"])

    @cached_property
    def origins(self) -> list[Row]:
        """Domain, source and licence, with documents read and kept, bytes and tokens kept; most bytes first."""
        keys = ["domain", "source", "licence"]
        raw = tables.read_arrow(self.artifacts["ingestion"].file("documents.parquet"), keys)
        kept = tables.read_arrow(self.artifacts["cleaning"].file("documents.parquet"), ["id", *keys, "bytes"])
        read = Counter(tuple(row.values()) for row in raw.to_pylist())
        documents: Counter[tuple[str, ...]] = Counter()
        sizes: Counter[tuple[str, ...]] = Counter()
        tokens: Counter[tuple[str, ...]] = Counter()
        for row in kept.to_pylist():
            place = tuple(row[key] for key in keys)
            documents[place] += 1
            sizes[place] += row["bytes"]
            tokens[place] += self._tokens.get(row["id"], 0)
        return [
            {
                **dict(zip(keys, place, strict=True)),
                "read": count,
                "kept": documents[place],
                "bytes": sizes[place],
                "tokens": tokens[place],
            }
            for place, count in sorted(read.items(), key=lambda item: (-sizes[item[0]], item[0]))
        ]

    @cached_property
    def _tokens(self) -> dict[str, int]:
        """Tokens of each kept document, its separator counted."""
        found: dict[str, int] = {}
        for split in self.summary("tokenization")["splits"]:
            if split in SPLITS:
                path = self.artifacts["tokenization"].file(f"{split}.documents.parquet")
                rows = tables.read_arrow(path, ["id", "start", "end"]).to_pylist()
                found |= {row["id"]: row["end"] - row["start"] for row in rows}
        return found

    @cached_property
    def filters(self) -> dict[str, Row]:
        """What each rule removed: documents, bytes, and tokens as far as they can be told.

        What is dropped is never encoded, so its tokens are an estimate: its bytes by the bytes of a token in
        the training split.
        """
        found = self.json("cleaning", "filter_report.json")["rules"]
        of_a_token = self.summary("tokenization")["splits"]["train"]["bytes_per_token"] or 1
        return {
            rule: {
                "documents": removed["dropped"],
                "bytes": removed["bytes"],
                "tokens_estimated": round(removed["bytes"] / of_a_token),
            }
            for rule, removed in found.items()
        }

    @cached_property
    def labelled_origins(self) -> list[tuple[str, str, str]]:
        """Labelled set, source and licence, each once, of the sets that there are."""
        found: set[tuple[str, str, str]] = set()
        for name in LABELLED:
            if path := self.optional("cleaning", f"labelled/{name}.parquet"):
                rows = tables.read_arrow(path, ["source", "licence"]).to_pylist()
                found |= {(name, row["source"], row["licence"]) for row in rows}
        return sorted(found)

    def of_suite(self, suite: str) -> list[Row]:
        """Records of one examination, in its order."""
        return [row for row in self.records if row["suite"] == suite]

    def find(self, metric: str, **wanted: str) -> list[Row]:
        """Records of one metric whose other columns have the wanted values."""
        return [
            row
            for row in self.records
            if row["metric"] == metric and all(row[name] == value for name, value in wanted.items())
        ]
