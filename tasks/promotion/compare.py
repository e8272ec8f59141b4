"""What there is to compare: the gates of a decision, each with both models' scores on the same test material.

Where the champion was examined in the same way on the same cleaned data, the rows kept then are paired with
the challenger's. Otherwise it is measured anew on the challenger's test set, less whatever the champion was
itself trained on: a model that has seen the answers is no measure.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks import tables
from tasks.artifacts import Artifact
from tasks.evaluation.comparison import BITS_PER_BYTE, MASKED_LOSS, MODEL
from tasks.evaluation.config import EvaluationConfig
from tasks.promotion import rescoring
from tasks.promotion.config import Bar, Margin, PromotionConfig
from tasks.promotion.decision import CHAMPION, Question
from tasks.promotion.intervals import Paired

logger = logging.getLogger(__name__)

LANGUAGE_MODELLING = "language_modelling"
PREFIX = f"{CHAMPION}-"
_HEAD = "finetuning-"
_CONTEXT = "context_id"


class Score(NamedTuple):
    """One model at one document or item: its value is ``part / size`` where several are summed."""

    part: float
    size: float
    cluster: str


Scores = dict[str, Score]  # by id
Inputs = Mapping[str, Artifact]


def questions(inputs: Inputs, config: PromotionConfig, scratch: Path) -> list[Question]:
    """The gates of this decision.

    Args:
        inputs: the challenger's artefacts by stage, and the champion's with `PREFIX`, if there is one.
        config: bars and margins.
        scratch: an existing folder for passing files.

    Raises:
        ArtifactError: a table or a model cannot be read.
    """
    challenger = Contestant(inputs)
    champions = {name.removeprefix(PREFIX): a for name, a in inputs.items() if name.startswith(PREFIX)}
    if not champions:
        return [question for bar in config.bars for question in _beat(challenger, bar)]
    rival = Rival(champions, challenger, config.seed, scratch)
    return [question for margin in config.margins for question in _keep_up(rival, margin, config)]


class Contestant:
    """A model as its evaluation saw it."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.evaluation = inputs["evaluation"]

    def scores(self, suite: str, metric: str, model: str = MODEL) -> Scores:
        """The kept scores of the model or of a baseline, empty where this was not measured."""
        return self._tables.get((suite, metric, model), {})

    @property
    def config(self) -> EvaluationConfig:
        """How it was measured."""
        return EvaluationConfig.model_validate(self.evaluation.manifest().key["config"])

    @cached_property
    def _tables(self) -> dict[tuple[str, str, str], Scores]:
        found: dict[tuple[str, str, str], Scores] = {}
        for row in tables.iterate(self.evaluation.file("documents.parquet")):
            scale = math.log(2.0) if row["metric"] == BITS_PER_BYTE else 1.0
            size = row["bytes"] if row["metric"] == BITS_PER_BYTE else row["predictions"]
            score = Score(row["nats"] / scale, size, row["id"])
            found.setdefault((LANGUAGE_MODELLING, row["metric"], row["model"]), {})[row["id"]] = score
        items = self.evaluation.path / "items.parquet"
        for row in tables.iterate(items) if items.is_file() else ():
            score = Score(row["value"], 1.0, row["cluster"] or row["id"])
            found.setdefault((row["task"], row["metric"], row["model"]), {})[row["id"]] = score
        return found


class Rival(Contestant):
    """The champion, measured on what the challenger is measured on."""

    def __init__(self, inputs: Inputs, challenger: Contestant, seed: int, scratch: Path) -> None:
        super().__init__(inputs)
        self.challenger, self.seed, self.scratch = challenger, seed, scratch

    @cached_property
    def examined_alike(self) -> bool:
        """Whether both were examined by one code with one configuration on one cleaned corpus."""
        own, other = (a.manifest().key for a in (self.evaluation, self.challenger.evaluation))
        parts = ("config", "code", "libraries")
        same_data = own["inputs"].get("cleaning") == other["inputs"].get("cleaning")
        return same_data and all(own.get(part) == other.get(part) for part in parts)

    def on_same(self, suite: str, metric: str) -> Scores:
        """The champion's scores on the challenger's test material, as far as they can be had."""
        wanted = self.challenger.scores(suite, metric)
        kept = self.scores(suite, metric)
        if self.examined_alike and wanted and wanted.keys() == kept.keys():
            same = all(wanted[name].size == kept[name].size for name in wanted)
            if same:
                return kept
        logger.info("promotion: measuring the champion anew: %s %s", suite, metric)
        if suite == LANGUAGE_MODELLING:
            return self._documents(metric, wanted)
        found = {name: score for name, score in self._items(suite, metric).items() if name in wanted}
        learnt = self._learnt(suite, wanted)
        return {name: score for name, score in found.items() if name not in learnt}

    def _documents(self, metric: str, wanted: Scores) -> Scores:
        config, model = self.challenger.config, self.inputs["pretraining"]
        cleaning, own = self.challenger.inputs["cleaning"], self.challenger.inputs["pretraining"]
        learnt = self._learnt(LANGUAGE_MODELLING, wanted)
        ids = [name for name in wanted if name not in learnt]
        objective = rescoring.training_facts(model)["objective"]
        if not ids or objective == ("masked" if metric == BITS_PER_BYTE else "causal"):
            return {}
        if metric == BITS_PER_BYTE:
            nats = rescoring.document_nats(model, cleaning, ids, config, self.scratch)
            scale = math.log(2.0)
        elif metric == MASKED_LOSS and _same_tokenizer(model, own):
            tokens = self.challenger.inputs["tokenization"]
            nats, scale = rescoring.hidden_word_nats(model, tokens, ids, own, config), 1.0
        else:
            return {}
        return {name: wanted[name]._replace(part=nats[name] / scale) for name in ids if name in nats}

    def _items(self, suite: str, metric: str) -> Scores:
        head = self.inputs.get(_HEAD + suite.replace("_", "-"))
        if head is None or head.stage not in rescoring.EXAMINERS:
            return {}
        key = (suite, metric)
        return {
            item.id: Score(item.value, 1.0, item.cluster or item.id)
            for item in rescoring.task_items(head, self.challenger.inputs["cleaning"], self.seed)
            if (item.task, item.metric) == key and item.model == MODEL
        }

    def _learnt(self, suite: str, wanted: Scores) -> set[str]:
        """Ids of the challenger's test material that the champion was trained on."""
        own, other = self.inputs.get("cleaning"), self.challenger.inputs["cleaning"]
        if own is None or own.content == other.content:
            return set()
        if suite == LANGUAGE_MODELLING:
            return _training_ids(own, "documents.parquet")
        name = f"labelled/{suite.replace('_', '-')}.parquet"
        rows, contexts = _training_ids(own, name), _training_ids(own, name, _CONTEXT)
        return rows | {item for item, score in wanted.items() if score.cluster in contexts}


def _beat(challenger: Contestant, bar: Bar) -> Iterator[Question]:
    """The gate of a bar, where it was measured."""
    own = challenger.scores(bar.suite, bar.metric)
    if not own:
        return
    gate = f"{bar.suite}.{bar.metric} over {bar.baseline}"
    other = challenger.scores(bar.suite, bar.metric, bar.baseline)
    missing = "" if other else f"the evaluation has no {bar.baseline} to compare with"
    paired = _pair(own, other) if other else None
    yield Question(gate, bar.baseline, bar.by, bar.lower_is_better, paired, missing)


def _keep_up(rival: Rival, margin: Margin, config: PromotionConfig) -> Iterator[Question]:
    """The gate of a margin; at a task that the champion cannot do, the bars of that task."""
    suite, metric = margin.suite, margin.metric
    own, champions = rival.challenger.scores(suite, metric), rival.scores(suite, metric)
    # Hidden words are the measure of a model that has no bits per byte.
    if metric == MASKED_LOSS and rival.challenger.scores(suite, BITS_PER_BYTE):
        return
    if not own and not champions:
        return
    other = rival.on_same(suite, metric) if own else {}
    if own and not champions and not other and suite != LANGUAGE_MODELLING:
        for bar in config.bars:
            if (bar.suite, bar.metric) == (suite, metric):
                yield from _beat(rival.challenger, bar)
        return
    missing = ""
    if not own:
        missing = "the champion was measured at this, the challenger was not"
    elif not other:
        missing = "the champion cannot be measured on any test material of the challenger that is new to it"
    paired = _pair(own, other) if own and other else None
    yield Question(f"{suite}.{metric}", CHAMPION, -margin.margin, margin.lower_is_better, paired, missing)


def _pair(own: Scores, other: Scores) -> Paired | None:
    """Both models' scores at the ids that both have, in one order; None when there are none."""
    ids = sorted(own.keys() & other.keys())
    if not ids:
        return None
    return Paired(
        challenger=np.array([own[name].part for name in ids], dtype=np.float64),
        reference=np.array([other[name].part for name in ids], dtype=np.float64),
        sizes=np.array([own[name].size for name in ids], dtype=np.float64),
        clusters=tuple(own[name].cluster for name in ids),
    )


def _training_ids(cleaning: Artifact, name: str, column: str = "id") -> set[str]:
    path = cleaning.path / name
    if not path.is_file():
        return set()
    table = tables.read_arrow(path)
    if column not in table.column_names:
        return set()
    rows = zip(table[column].to_pylist(), table["split"].to_pylist(), strict=True)
    return {str(value) for value, split in rows if split == "train"}


def _same_tokenizer(one: Artifact, other: Artifact) -> bool:
    return one.file("tokenizer.json").read_bytes() == other.file("tokenizer.json").read_bytes()
