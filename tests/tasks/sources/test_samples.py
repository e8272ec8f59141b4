from __future__ import annotations

from collections import Counter

import pytest

from tasks import tables
from tasks.sources import samples
from tasks.sources.config import SamplesSource
from tasks.sources.labelled_config import LabelledSamples
from tasks.sources.outcomes import Kept, unusable


def documents(count: int = 400, seed: int = 7) -> list[Kept]:
    return [
        outcome
        for outcome in samples.documents(SamplesSource(documents=count, seed=seed))
        if isinstance(outcome, Kept)
    ]


def values(task: str, rows: int = 200) -> list[dict[str, object]]:
    outcomes = samples.labelled(task, LabelledSamples(rows=rows))
    return [outcome.values for outcome in outcomes if isinstance(outcome, Kept)]


def five_grams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_the_four_domains_are_equal_and_every_text_is_usable() -> None:
    found = documents()
    assert Counter(kept.values["domain"] for kept in found) == dict.fromkeys(samples.DOMAINS, 100)
    assert all(unusable(kept.values["text"], 1 << 20) is None for kept in found)
    assert {kept.values["format"] for kept in found if kept.values["domain"] == "web"} == {"html"}


def test_the_same_seed_gives_the_same_texts_and_another_seed_others() -> None:
    assert documents(40) == documents(40)
    assert documents(40)[0] != documents(40, seed=8)[0]
    assert documents(80)[:40] == documents(40), "asking for more changes none of the first"


def test_copies_are_planted_and_the_rest_is_far_from_a_copy() -> None:
    grams = [five_grams(kept.values["text"]) for kept in documents(200)]
    nearest = []
    for number, own in enumerate(grams):
        others = (len(own & other) / max(1, len(own | other)) for other in grams[:number])
        nearest.append(max(others, default=0.0))
    copies = sum(similarity == 1 for similarity in nearest)
    assert 3 <= copies <= 6
    assert sum(0.5 < similarity < 1 for similarity in nearest) <= 2, "only planted copies are alike"


def test_there_is_dirt_for_cleaning_to_find() -> None:
    texts = [kept.values["text"] for kept in documents()]
    assert any(text == "Page not found." for text in texts)
    assert any("@example.com" in text for text in texts)
    assert any("\u00ad" in text for text in texts)
    assert any("Chaque" in text or "Aujourd'hui" in text for text in texts)
    assert any(len(set(text.splitlines())) == 1 < text.count("\n") for text in texts)


@pytest.mark.parametrize("task", list(tables.LABELLED))
def test_labelled_rows_have_the_columns_of_their_table(task: str) -> None:
    provenance = {"id", "split", "source", "uri", "licence", "sha256"}
    for row in values(task):
        assert set(row) == set(tables.LABELLED[task].names) - provenance


def test_opinions_are_balanced_and_their_ratings_agree() -> None:
    rows = values("sentiment", 300)
    assert Counter(row["label"] for row in rows) == {"positive": 100, "negative": 100, "neutral": 100}
    for row in rows:
        rating = float(str(row["rating"]))
        assert {"positive": rating >= 0.5, "negative": rating <= -0.5, "neutral": abs(rating) < 0.5}[
            str(row["label"])
        ]
    assert len({row["text"] for row in rows}) > 280


def test_answers_stand_in_their_context_and_some_questions_have_none() -> None:
    rows = values("question-answering")
    for row in rows:
        start, answer, context = int(str(row["answer_start"])), str(row["answer"]), str(row["context"])
        assert (start == -1 and not answer) or context[start : start + len(answer)] == answer
    assert sum(not row["answer"] for row in rows) == 25
    assert len({row["context_id"] for row in rows}) == 50


def test_translations_keep_their_placeholders_and_are_french() -> None:
    rows = values("translation")
    for row in rows:
        for placeholder in ("%(count)s", "{place}"):
            assert (placeholder in str(row["source_text"])) == (placeholder in str(row["target_text"]))
        assert "ne oublie" not in str(row["target_text"])
    assert len({row["source_text"] for row in rows}) > 190
