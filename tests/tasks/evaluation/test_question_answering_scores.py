"""The examination of question answering: baselines by hand, records and items that agree with each other."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError
from tasks.evaluation.findings import Findings
from tasks.evaluation.question_answering_scores import (
    METHODS,
    examine_question_answering,
    leading_words,
    random_spans,
    sliding_window,
)
from tasks.finetuning.question_answering import finetune_question_answering
from tests.tasks.evaluation.tiny_inputs import artifact
from tests.tasks.finetuning.test_question_answering import config, inputs


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, dict[str, Artifact], Findings]:
    home = tmp_path_factory.mktemp("home")
    given = inputs(home)

    def write(folder: Path) -> dict[str, object]:
        return finetune_question_answering(given, config(steps=120), folder).model_dump(mode="json")

    model = artifact(Store(home), "finetuning-question-answering", write)
    return model, given, examine_question_answering(model, given["cleaning"], samples=200, seed=1)


def test_records_are_the_means_of_the_items(examined: tuple[Artifact, dict[str, Artifact], Findings]) -> None:
    found = examined[2]
    for metric in ("exact_match", "f1"):
        means = {
            name: fmean(i.value for i in found.items if i.model == name and i.metric == metric)
            for name in METHODS
        }
        own = [r for r in found.records if r.metric == metric and r.condition == ""]
        assert {r.model: r.value for r in own} == pytest.approx(means)
        apart = [r for r in found.records if r.metric == f"{metric}_difference" and r.condition == ""]
        assert {r.baseline for r in apart} == set(METHODS) - {"model"}
        for record in apart:
            assert record.value == pytest.approx(means["model"] - means[record.baseline])
            assert record.low is not None and record.high is not None
            assert record.low <= record.value <= record.high


def test_a_model_that_learnt_beats_what_did_not(
    examined: tuple[Artifact, dict[str, Artifact], Findings],
) -> None:
    apart = [r for r in examined[2].records if r.metric == "f1_difference" and r.condition == ""]
    beaten = {r.baseline for r in apart if r.low is not None and r.low > 0}
    assert {"random_span", "always_no_answer"} <= beaten


def test_conditions_part_the_rows(examined: tuple[Artifact, dict[str, Artifact], Findings]) -> None:
    sizes = {r.condition: r.n for r in examined[2].records}
    assert sizes == {"": 12, "answerable": 9, "unanswerable": 3}
    silent = {
        r.condition: r.value
        for r in examined[2].records
        if r.model == "always_no_answer" and r.metric == "f1"
    }
    assert silent == {"": 0.25, "answerable": 0.0, "unanswerable": 1.0}


def test_the_same_seed_finds_the_same(examined: tuple[Artifact, dict[str, Artifact], Findings]) -> None:
    model, given, found = examined
    again = examine_question_answering(model, given["cleaning"], samples=200, seed=1)
    assert again == found
    assert len(found.shown["predictions"]) == 12
    assert {item.cluster for item in found.items} == {f"test-context-{n}" for n in range(6)}


def test_a_folder_without_a_head_is_refused(examined: tuple[Artifact, dict[str, Artifact], Findings]) -> None:
    given = examined[1]
    with pytest.raises(ArtifactError, match=r"head\.json"):
        examine_question_answering(given["pretraining"], given["cleaning"], samples=200, seed=1)


def test_the_sliding_window_weighs_rare_words_more() -> None:
    context = "The mill is old. The mill has a wheel. The mill, the mill! A miller lives there."
    assert sliding_window("Which wheel has the mill?", context) == "The mill has a wheel."
    assert sliding_window("nothing shared", context) == "The mill is old."
    assert sliding_window("what?", "") == ""


def test_spans_of_chance_stand_in_their_context() -> None:
    made = [{"context": "one two  three\nfour five"}, {"context": ""}, {"context": "six"}] * 20
    spans = random_spans(made, [2, 4], seed=3)
    assert spans == random_spans(made, [2, 4], seed=3) != random_spans(made, [2, 4], seed=4)
    assert all(span in row["context"] for span, row in zip(spans, made, strict=True))
    assert {len(span.split()) for span in spans} == {0, 1, 2, 4}
    assert leading_words("one two  three\nfour", 3) == "one two  three" and leading_words(" ", 3) == ""
