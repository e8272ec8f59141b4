"""Corpora are compared document by document, and only what chance does not explain is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.evaluation.clustered import Mean, difference
from tasks.representation.audit import RATE, WOMEN
from tasks.representation.compare import Change, Comparison, compare
from tasks.representation.corpus import Corpus, Floats
from tests.tasks.representation.audited import Documents, corpus, people

ALL = "(all)"


def compared(tmp_path: Path, before: Documents, now: Documents) -> Comparison:
    return compare(corpus(tmp_path / "before", before), corpus(tmp_path / "now", now))


def one(found: Comparison, metric: str, condition: str, domain: str = ALL) -> Change:
    (change,) = (c for c in found.changes if c[:3] == (metric, condition, domain))
    return change


def test_the_same_corpus_has_not_changed(tmp_path: Path) -> None:
    found = compared(tmp_path, people(50, 50), people(50, 50))
    assert (found.kept, found.altered, found.added, found.removed) == (100, 0, 0, 0)
    assert found.clear == [] and found.changes
    assert {change.gap[:3] for change in found.changes if change.before} == {(0.0, 0.0, 0.0)}


def test_documents_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    before, now = people(30, 30), people(30, 30)[10:] + people(0, 5, first=60)
    now[0] |= {"text": "Nobody went home and slept."}
    found = compared(tmp_path, before, now)
    assert (found.kept, found.altered, found.added, found.removed) == (50, 1, 5, 10)
    assert (found.words_before, found.words_now) == (300, 275)


def test_a_planted_change_is_told_with_its_interval_and_where_it_comes_from(tmp_path: Path) -> None:
    found = compared(tmp_path, people(50, 50), people(50, 50)[40:] + people(0, 40, first=100))
    told = {(change.metric, change.condition, change.domain) for change in found.clear}
    assert told == {
        (RATE, group, domain) for group in ("gender: women", "gender: men") for domain in (ALL, "books")
    } | {(WOMEN, "anywhere", ALL)}
    women = one(found, RATE, "gender: women")
    assert (women.before, women.now, women.gap.value) == (100_000, 20_000, -80_000)
    assert women.gap.low is not None and women.gap.high is not None
    assert women.gap.low < -80_000 < women.gap.high < 0
    assert (women.added, women.removed) == (0, 200_000)


def test_the_numbers_are_those_of_the_audits(tmp_path: Path) -> None:
    """Recounted from the documents they are what the records say, so that pairs and records cannot drift apart."""
    texts = ["She is a kind doctor.", "He is a doctor.", "The old man met a teacher.", "No one here."]
    documents = [{"id": str(n), "text": texts[n % 4], "domain": f"d{n % 3}"} for n in range(120)]
    found = corpus(tmp_path, documents, least_mentions=5)
    assert {key[0] for key in found.rows} == {
        RATE,
        WOMEN,
        *(f"share_near_{k}" for k in ("occupation", "praise", "blame")),
    }
    for key, row in found.rows.items():
        above, below = found.parts(key)
        scale = 1e6 if key[0] == RATE else 1.0
        assert scale * above.sum() / below.sum() == pytest.approx(row["value"]), key


def test_what_both_corpora_hold_cancels(tmp_path: Path) -> None:
    """A hundredth of the documents changes: as independent corpora they could not be told apart, in pairs they can."""
    texts = ["she " * 9 + "word", "word " * 10]
    generator = np.random.default_rng(3)
    before = [
        {"id": str(n), "text": texts[int(generator.random() < 0.5)], "domain": "a"} for n in range(1000)
    ]
    now = [d if n >= 10 else d | {"id": f"new{n}", "text": texts[0]} for n, d in enumerate(before)]
    old, new = corpus(tmp_path / "a", before), corpus(tmp_path / "b", now)
    change = one(compare(old, new), RATE, "gender: women")
    key = (RATE, "gender: women", ALL)
    alone = difference(*(Mean(*(c.rows[key][name] for name in Mean._fields)) for c in (new, old)))
    assert change.gap.value == pytest.approx(alone.value)
    assert change.clear and alone.low is not None and alone.low < 0 < (alone.high or 0)
    assert (change.gap.high or 0) - (change.gap.low or 0) < 0.2 * ((alone.high or 0) - alone.low)


def _drawn(heaps: Floats, ids: list[str]) -> Corpus:
    """A corpus whose documents have twenty words and name women never or five times."""
    places = np.flatnonzero(heaps)
    key, rate = (RATE, "gender: women", ALL), 1e6 * 5 * len(places) / (20 * len(ids))
    return Corpus(
        counted_by="",
        ids=ids,
        domains=np.array(["a"] * len(ids)),
        words=np.full(len(ids), 20.0),
        counts={("gender: women", ""): (places, np.full(len(places), 5))},
        rows={key: {"value": rate, "low": None, "high": None, "n": len(ids)}},
    )


def test_equal_populations_differ_about_as_often_as_is_said() -> None:
    """400 pairs of corpora that share two thirds of their documents: about one interval in twenty leaves out zero."""
    generator, clear = np.random.default_rng(11), 0
    for _ in range(400):
        drawn = generator.random(200) < 0.3
        sides = [np.r_[0:100, 100:150], np.r_[0:100, 150:200]]
        corpora = [_drawn(drawn[side] * 1.0, [str(n) for n in side]) for side in sides]
        (change,) = compare(*corpora, samples=300).changes
        clear += change.clear
    assert 0.02 <= clear / 400 <= 0.09


def test_of_what_was_never_named_the_bounds_are_those_of_chance(tmp_path: Path) -> None:
    """Ten documents name nobody; that forty others do once does not mean that they were left out before."""
    before = [{"id": f"b{n}", "text": "word " * 5, "domain": "a"} for n in range(10)]
    now = [
        {"id": f"n{n}", "text": "word " * 50 + ("hindu" if n < 5 else ""), "domain": "a"} for n in range(40)
    ]
    change = one(compared(tmp_path, before, now), RATE, "religion: Hindus")
    assert change.before == 0 and change.now > 0 and not change.clear


def test_numbers_that_only_one_corpus_has_are_left_out(tmp_path: Path) -> None:
    found = compared(tmp_path, people(50, 50, domain="books"), people(50, 50, domain="web"))
    assert {change.domain for change in found.changes} == {ALL}


@pytest.mark.parametrize("other", [{"window": 5}, {"extra_groups": {"mine": ("slept",)}}])
def test_other_lists_are_not_compared(tmp_path: Path, other: dict[str, object]) -> None:
    old, new = corpus(tmp_path / "a", people(5, 5)), corpus(tmp_path / "b", people(5, 5), **other)
    with pytest.raises(ValueError, match="other lists"):
        compare(old, new)
