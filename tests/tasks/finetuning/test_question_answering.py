"""Question answering as a stage: it learns, repeats itself to the byte, and refuses what it cannot use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.finetuning_config import FineTuningConfig
from models.head_export import load_head
from models.heads import SpanExtractor
from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.errors import DataError
from tasks.finetuning.common import open_base
from tasks.finetuning.question_answering import (
    QuestionAnsweringConfig,
    choose_threshold,
    encode_rows,
    exact_match,
    finetune_question_answering,
    token_f1,
)
from tests.tasks.evaluation.tiny_inputs import artifact, documents, model, tokens
from tests.tasks.finetuning.tiny import contents

_PLACES = ("river", "mill", "water", "child")


def row(number: int, split: str, answer: str, context: str, question: str = "where?") -> dict[str, Any]:
    """One labelled row; the answer is at its first place in the context."""
    return {
        "id": f"{split}-{number}",
        "context_id": f"{split}-context-{number // 2}",
        "context": context,
        "question": question,
        "answer": answer,
        "answer_start": context.index(answer) if answer else -1,
        "split": split,
        "source": "ours",
        "uri": f"tests:{split}/{number}",
        "licence": "CC0-1.0",
        "sha256": "0" * 64,
    }


def rows(sizes: dict[str, int] | None = None) -> list[dict[str, Any]]:
    """The answer is what stands after "by the"; every fourth context does not say."""
    made = []
    for split, size in (sizes or {"train": 60, "validation": 12, "test": 12}).items():
        for number in range(size):
            place = _PLACES[number % 3] if number % 4 else ""
            said = f"It is by the {place}." if place else "It is quiet."
            filling = "every child knew its slow name " * (number % 3)
            made.append(row(number, split, place, f"{filling}{said} The old {_PLACES[3]} ran past."))
    return made


def clean(store: Store, made: list[dict[str, Any]]) -> Artifact:
    """A cleaning artefact with documents and these rows."""

    def write(folder: Path) -> None:
        tables.write(folder / "documents.parquet", documents(4), tables.CLEAN_DOCUMENTS)
        path = folder / "labelled" / "question-answering.parquet"
        tables.write(path, made, tables.QUESTION_ANSWERING)

    return artifact(store, "cleaning", write, rows=[(r["id"], r["answer"], r["context"]) for r in made])


def inputs(home: Path, made: list[dict[str, Any]] | None = None) -> dict[str, Artifact]:
    """An untrained model and labelled rows."""
    store = Store(home)
    cleaning = clean(store, rows() if made is None else made)
    return {"pretraining": model(store, tokens(store, cleaning)), "cleaning": cleaning}


def config(steps: int = 60, **changes: Any) -> QuestionAnsweringConfig:
    """A run in float32 on one thread."""
    training = FineTuningConfig(
        steps=steps,
        batch_size=16,
        max_tokens=32,
        optimiser="muon",
        learning_rate=0.02,
        adam_learning_rate=0.02,
        precision="fp32",
        checkpoint_every=20,
        validate_every=30,
        threads=1,
    )
    return QuestionAnsweringConfig(
        training=training, **({"doc_stride": 12, "max_answer_tokens": 8} | changes)
    )


def run(given: dict[str, Artifact], folder: Path, **changes: Any) -> Any:
    """Fine-tune into a new folder."""
    folder.mkdir()
    return finetune_question_answering(given, config(**changes), folder)


def test_it_learns_what_gives_the_answer_away_and_writes_what_answering_needs(tmp_path: Path) -> None:
    given = inputs(tmp_path / "home")
    short = run(given, tmp_path / "one", steps=1)
    summary = run(given, tmp_path / "many", steps=120)
    assert summary.training_loss < 0.5 * short.training_loss
    assert summary.validation["f1"] > 0.6
    assert summary.left_out == 0 and summary.task == "question-answering"
    head, told = load_head(tmp_path / "many")
    assert isinstance(head, SpanExtractor) and head.bidirectional
    assert told.settings["no_answer_threshold"] == summary.validation["no_answer_threshold"]
    assert len(told.place_prior) > 1 and any(told.place_prior)
    assert json.loads((tmp_path / "many" / "finetuning.json").read_text())["summary"]["steps"] == 120


def test_the_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    given = inputs(tmp_path / "home")
    one, two = run(given, tmp_path / "one", steps=4), run(given, tmp_path / "two", steps=4)
    assert one == two
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_examples_point_at_their_answers(tmp_path: Path) -> None:
    base, made = open_base(inputs(tmp_path)), rows({"train": 40})
    examples, left_out = encode_rows(made, config(windows_without_answer=0.0), base, 32)
    assert left_out == 0
    held = {
        base.tokenizer.decode(list(e.input_ids[e.targets[0] : e.targets[1] + 1])).strip() for e in examples
    }
    assert held == {"river", "mill", "water"}
    more, _ = encode_rows(made, config(windows_without_answer=1000.0), base, 32)
    assert sum(e.targets == (0, 0) for e in more) >= sum(not each["answer"] for each in made)
    assert [e for e in more if e.targets != (0, 0)] == examples


def test_an_example_names_the_row_that_it_was_made_from(tmp_path: Path) -> None:
    base = open_base(inputs(tmp_path))
    made = [each | {"question": f"mill {place}?"} for place, each in enumerate(rows({"train": 40}))]
    examples, _ = encode_rows(made, config(windows_without_answer=1000.0), base, 32)
    asked = {each["id"]: each["question"] for each in made}
    assert len(set(asked.values())) == len({example.row for example in examples}) == 40
    for example in examples:
        question, _, context = base.tokenizer.decode(
            list(example.input_ids), skip_special_tokens=False
        ).partition("<|sep|>")
        assert question == f"<|endoftext|>{asked[example.row]}"
        assert context.strip() in next(each["context"] for each in made if each["id"] == example.row)


def test_an_answer_that_no_window_holds_is_left_out_and_counted(tmp_path: Path) -> None:
    context = "the old river ran past a quiet mill and every child knew its slow green water by name " * 2
    made = [*rows(), row(900, "train", context.strip(), context)]
    summary = run(inputs(tmp_path / "home", made), tmp_path / "out", steps=1)
    assert summary.left_out == 1
    alone = [row(0, "train", context.strip(), context), row(0, "validation", "", context)]
    with pytest.raises(DataError, match="none of 1 training rows fits"):
        run(inputs(tmp_path / "other", alone), tmp_path / "none", steps=1)


def test_scores_follow_the_rule_of_squad() -> None:
    assert exact_match("The Mill!", "mill") == 1.0 == token_f1("a mill", "The mill.")
    assert exact_match("", "") == 1.0 == token_f1("", "")
    assert token_f1("", "mill") == 0.0 == token_f1("mill", "") == exact_match("", "mill")
    assert token_f1("by the old mill", "old mill house") == pytest.approx(2 * 2 / (3 + 3))
    assert token_f1("mill mill", "mill") == pytest.approx(2 / 3)
    assert exact_match("theatre", "atre") == 0.0


def test_a_lone_article_is_not_taken_for_no_answer() -> None:
    assert exact_match("the", "") == 0.0 == token_f1("The", "") == token_f1("", "a")
    assert exact_match("the", "a") == 1.0 == token_f1("the", "a")


def test_the_threshold_keeps_silent_where_that_pays() -> None:
    threshold = choose_threshold([0.1, 0.2, 5.0, 6.0], [0.9, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0])
    assert 0.2 <= threshold < 5.0
    assert choose_threshold([0.1, 5.0], [0.5, 0.5], [0.0, 0.0]) == 5.0
    assert choose_threshold([0.1, 5.0], [0.0, 0.0], [1.0, 1.0]) == 0.0
