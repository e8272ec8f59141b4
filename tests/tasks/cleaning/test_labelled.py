from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.cleaning.changes import Changes
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.labelled import QUESTION_ANSWERING, SENTIMENT, TRANSLATION, Task, held_out_texts, process
from tasks.cleaning.ledger import Ledger
from tasks.errors import DataError

Row = dict[str, Any]


def run(task: Task, rows: list[Row], folder: Path) -> tuple[list[Row], Ledger]:
    with Changes(folder / "changes.parquet") as changes:
        ledger = Ledger(changes)
        kept = process(task, rows, CleaningConfig(), ledger, folder)
    ledger.balance()
    return kept, ledger


def test_look_alikes_share_a_split_and_copies_go(
    tmp_path: Path, prose: Callable[..., str], sentiment: Callable[..., Row]
) -> None:
    rows = []
    for number in range(200):
        text = prose(number, 14)
        rows += [sentiment(f"{number}-{word}", f"{text} {word}") for word in ("indeed", "truly", "INDEED!")]
    kept, ledger = run(SENTIMENT, rows, tmp_path)
    assert ledger.dropped_by_rule("sentiment") == {"exact-duplicate": 200}
    splits = {row["id"]: row["split"] for row in kept}
    assert len(splits) == 400
    assert set(splits.values()) == {"train", "validation", "test"}
    # "0-INDEED" < "0-indeed": of equal texts the smallest id stays.
    assert all(
        splits[f"{n}-{'truly'}"] == splits.get(f"{n}-INDEED!", splits.get(f"{n}-indeed")) for n in range(200)
    )


def test_splits_do_not_depend_on_order_and_stay_under_additions(
    tmp_path: Path, prose: Callable[..., str], sentiment: Callable[..., Row]
) -> None:
    rows = [sentiment(f"s{n}", prose(n, 14)) for n in range(300)]
    more = [sentiment(f"m{n}", prose(10_000 + n, 14)) for n in range(300)]
    before = {row["id"]: row["split"] for row in run(SENTIMENT, rows, tmp_path)[0]}
    backwards = {row["id"]: row["split"] for row in run(SENTIMENT, rows[::-1], tmp_path)[0]}
    after = {row["id"]: row["split"] for row in run(SENTIMENT, more + rows, tmp_path)[0]}
    assert before == backwards
    assert all(after[key] == split for key, split in before.items())


def test_questions_stay_with_their_context(
    tmp_path: Path, prose: Callable[..., str], question: Callable[..., Row]
) -> None:
    rows = []
    for number in range(80):
        context = prose(number, 80)
        rows += [
            question(
                f"{number}-{k}", f"c{number}", context, context.split()[k], context.index(context.split()[k])
            )
            for k in range(3)
        ]
        # The same passage under another id, a little changed.
        rows.append(question(f"{number}-x", f"copy{number}", f"{context} End.", context.split()[0], 0))
    kept, _ = run(QUESTION_ANSWERING, rows, tmp_path)
    assert len(kept) == len(rows)
    for number in range(80):
        assert len({row["split"] for row in kept if row["id"].startswith(f"{number}-")}) == 1
    assert {row["split"] for row in kept} == {"train", "validation", "test"}


def test_answers_are_found_again_in_the_standardised_context(
    tmp_path: Path, prose: Callable[..., str], question: Callable[..., Row]
) -> None:
    context = "He said “no”…  twice.\r\nThe cat\u200b sat.\u00a0 The cat — old — slept."
    rows = [
        question("second", "a", context, "The cat", context.rindex("The cat")),
        question("quoted", "a", context, "“no”", context.index("“no”")),
        question("none", "a", context, "", -1),
        question("wrong", "a", context, "The dog", 3),
        question("outside", "a", context, "The cat", 10_000),
        question("half", "a", context, "t\u200b sat", context.index("t\u200b sat")),
    ]
    rows += [question(f"o{n}", f"o{n}", prose(n), prose(n)[:5], 0) for n in range(5)]
    kept, ledger = run(QUESTION_ANSWERING, rows, tmp_path)
    found = {row["id"]: row for row in kept}
    for key in ("second", "quoted", "half"):
        row = found[key]
        assert row["context"].startswith(row["answer"], row["answer_start"])
    clean = found["second"]["context"]
    assert found["second"]["answer_start"] == clean.rindex("The cat") > clean.index("The cat")
    assert found["quoted"]["answer"] == '"no"'
    assert (found["none"]["answer"], found["none"]["answer_start"]) == ("", -1)
    assert ledger.dropped_by_rule("question-answering") == {"answer-span": 2}


def test_messages_that_differ_in_placeholders_share_a_split(
    tmp_path: Path, prose: Callable[..., str], translation: Callable[..., Row]
) -> None:
    rows = []
    for number in range(120):
        message = prose(number, 6)
        for key, value in (("a", "%(name)s"), ("b", "{count}"), ("c", "12"), ("d", "<b>%s</b>")):
            rows.append(translation(f"{number}-{key}", f"{value} {message}", f"{value} voilà {number}"))
    kept, ledger = run(TRANSLATION, rows, tmp_path)
    assert not ledger.dropped_by_rule("translation")
    for number in range(120):
        assert len({row["split"] for row in kept if row["id"].startswith(f"{number}-")}) == 1


def test_empty_texts_are_quarantined_by_name(
    tmp_path: Path, prose: Callable[..., str], translation: Callable[..., Row]
) -> None:
    rows = [translation(f"t{n}", prose(n, 8), prose(n + 50, 8)) for n in range(10)]
    rows.append(translation("blank", prose(99, 8), "\u200b \u00a0"))
    kept, ledger = run(TRANSLATION, rows, tmp_path)
    assert len(kept) == 10
    assert ledger.dropped_by_rule("translation") == {"empty": 1}
    assert (
        ledger.report()["labelled"]["translation"]["rules"]["empty"]["samples"][0]["reason"]
        == "target_text is empty"
    )


def test_an_empty_set_stays_empty_and_a_tiny_one_is_an_error(
    tmp_path: Path, sentiment: Callable[..., Row]
) -> None:
    assert run(SENTIMENT, [], tmp_path)[0] == []
    with pytest.raises(DataError, match="sentiment rows: 2 distinct"):
        run(SENTIMENT, [sentiment("a", "one fine day"), sentiment("b", "something else entirely")], tmp_path)


def test_two_rows_with_one_id_cannot_be_accounted_for(tmp_path: Path, sentiment: Callable[..., Row]) -> None:
    with pytest.raises(DataError, match="two sentiment have the id 'a'"):
        run(SENTIMENT, [sentiment("a", "one"), sentiment("a", "two")], tmp_path)


def test_held_out_texts_are_those_of_validation_and_test(
    tmp_path: Path, prose: Callable[..., str], translation: Callable[..., Row]
) -> None:
    kept, _ = run(
        TRANSLATION, [translation(f"t{n}", prose(n, 8), prose(n + 500, 8)) for n in range(100)], tmp_path
    )
    texts = held_out_texts(TRANSLATION, kept)
    held = [row for row in kept if row["split"] != "train"]
    assert held and set(texts) == {text for row in held for text in (row["source_text"], row["target_text"])}
