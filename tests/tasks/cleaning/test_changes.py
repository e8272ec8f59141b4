"""Every change has a row: what did it, why, and how large the text was before and after."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks import tables
from tasks.cleaning import documents as documents_module
from tasks.cleaning.c4 import C4Rules
from tasks.cleaning.changes import Change, Changes, together
from tasks.cleaning.clean import CleaningSummary, clean
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.ledger import DOCUMENTS, Ledger
from tasks.cleaning.pii import KINDS
from tasks.cleaning.pool import Pool
from tasks.cleaning.worker import prepare
from tasks.errors import DataError

Row = dict[str, Any]
Make = Callable[..., Any]
SECRETS = ["jane.canary@example.org", "+44 20 7946 0958", "4111 1111 1111 1111", "219-09-9999"]


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "Pool", lambda config, kinds: Pool(config, kinds, 1))


@pytest.fixture
def messy(prose: Make, document: Make) -> list[Row]:
    """Documents that are changed in every way there is, and some that are not."""
    shared = prose(900, 40)
    rows = [document(f"good-{n:02}", prose(n, 120)) for n in range(30)]
    page = f"<html><body><article><p>{prose(60, 90)}</p></article></body></html>"
    return [
        *rows,
        document("page", page, "html", "web"),
        document("spaces", f"{prose(61, 90)}\u00a0 \u200b\u202e{prose(62, 5)}\r\nand\u0301 \ufb01ne"),
        document("told", f"{prose(63, 60)} Write to {SECRETS[0]} or ring {SECRETS[1]}."),
        document("first", f"{prose(64, 60)}\n\n{shared}"),
        document("second", f"{prose(65, 60)}\n\n{shared}"),
        document("gone", f"{SECRETS[2]} \u200b{SECRETS[3]}"),
    ]


def run(source: Any, folder: Path, config: CleaningConfig | None = None) -> CleaningSummary:
    folder.mkdir()
    return clean({"ingestion": source}, config or CleaningConfig(), folder)


def read(folder: Path, name: str) -> list[Row]:
    return list(tables.iterate(folder / name))


def test_each_change_has_its_row_with_sizes_that_follow_one_another(
    tmp_path: Path, messy: list[Row], ingestion: Make
) -> None:
    summary = run(ingestion(messy), tmp_path / "out")
    changes = read(tmp_path / "out", "changes.parquet")
    assert {(row["id"], row["rule"]) for row in changes} == {
        ("page", "extraction"),
        ("spaces", "standardisation"),
        ("told", "personal-data"),
        ("second", "repeated-paragraphs"),
        ("gone", "standardisation"),
        ("gone", "personal-data"),
    }
    sizes = {row["id"]: len(row["text"].encode()) for row in messy}
    for row in changes:
        sizes[row["id"]], before = row["bytes_after"], sizes[row["id"]]
        assert row["bytes_before"] == before and row["reason"] and row["dataset"] == "documents"
    kept = {row["id"]: row for row in read(tmp_path / "out", "documents.parquet")}
    assert {name: row["bytes"] for name, row in kept.items()} == {name: sizes[name] for name in kept}
    assert summary.documents.changes == dict(Counter(row["rule"] for row in changes))
    (told,) = (row for row in changes if row["id"] == "told")
    assert told["reason"] == "replaced: 1 email, 1 phone" and told["value"] == 2


def test_the_report_counts_what_the_table_holds(tmp_path: Path, messy: list[Row], ingestion: Make) -> None:
    run(ingestion(messy), tmp_path / "out")
    report = json.loads((tmp_path / "out" / "filter_report.json").read_text())
    changes = read(tmp_path / "out", "changes.parquet")
    for rule, found in report["changes"].items():
        rows = [row for row in changes if row["rule"] == rule]
        assert found["changed"] == len(rows) == sum(found["domains"].values())
        assert found["bytes_before"] == sum(row["bytes_before"] for row in rows)
        assert found["bytes_after"] == sum(row["bytes_after"] for row in rows)
        assert 0 < len(found["samples"]) <= 3


def test_lines_that_rules_refuse_are_a_change(
    tmp_path: Path, prose: Make, document: Make, ingestion: Make
) -> None:
    rows = [document(f"good-{n:02}", prose(n, 120)) for n in range(30)]
    sentences = " ".join(f"{prose(n, 12)}" for n in range(70, 80))
    rows.append(document("lines", f"{sentences}\nno end to this line of words", domain="web"))
    run(ingestion(rows), tmp_path / "out", CleaningConfig(c4=C4Rules(enabled=True, domains=("web",))))
    (change,) = read(tmp_path / "out", "changes.parquet")
    assert (change["id"], change["rule"], change["value"]) == ("lines", "refused-lines", 1)


def test_labelled_rows_have_theirs(
    tmp_path: Path, prose: Make, document: Make, sentiment: Make, ingestion: Make
) -> None:
    rows = [document(f"good-{n:02}", prose(n, 120)) for n in range(30)]
    labelled = [sentiment(f"s{n}", prose(100 + n, 9)) for n in range(9)]
    labelled.append(sentiment("told", f"{prose(200, 9)} {SECRETS[0]}"))
    summary = run(ingestion(rows, sentiment=labelled), tmp_path / "out")
    (change,) = read(tmp_path / "out", "changes.parquet")
    assert (change["dataset"], change["id"], change["rule"]) == ("sentiment", "told", "personal-data")
    assert summary.labelled["sentiment"].changes == {"personal-data": 1}


def test_no_canary_is_left_anywhere(tmp_path: Path, messy: list[Row], ingestion: Make) -> None:
    run(ingestion(messy), tmp_path / "out")
    told = str([read(tmp_path / "out", f"{n}.parquet") for n in ("documents", "quarantine", "changes")])
    told += (tmp_path / "out" / "filter_report.json").read_text()
    assert not [secret for secret in SECRETS if secret in told]
    assert not set("\u200b\u202e\u00a0") & set(told)


def test_what_was_cleaned_is_kept_as_it_is(
    tmp_path: Path, messy: list[Row], document: Make, ingestion: Make
) -> None:
    run(ingestion(messy), tmp_path / "once")
    once = read(tmp_path / "once", "documents.parquet")
    again = [document(row["id"], row["text"], domain=row["domain"]) for row in once]
    summary = run(ingestion(again), tmp_path / "twice")
    twice = read(tmp_path / "twice", "documents.parquet")
    assert summary.documents.dropped == 0 and read(tmp_path / "twice", "changes.parquet") == []
    assert [(row["id"], row["text"], row["split"]) for row in twice] == [
        (row["id"], row["text"], row["split"]) for row in once
    ]


@pytest.mark.parametrize("name", ["documents", "labelled/sentiment"])
def test_in_is_kept_and_dropped_by_id_and_domain(
    tmp_path: Path, messy: list[Row], prose: Make, sentiment: Make, ingestion: Make, name: str
) -> None:
    labelled = [sentiment(f"s{n}", prose(100 + n // 2, 9)) for n in range(40)] + [
        sentiment("empty", "\u200b")
    ]
    source = ingestion(messy, sentiment=labelled)
    run(source, tmp_path / "out")
    dataset = name.split("/")[-1]
    received = list(tables.iterate(source.file(f"{name}.parquet")))
    kept = read(tmp_path / "out", f"{name}.parquet")
    gone = [row for row in read(tmp_path / "out", "quarantine.parquet") if row["dataset"] == dataset]
    assert gone and Counter(row["id"] for row in kept + gone) == Counter(row["id"] for row in received)
    by_domain = Counter(row.get("domain", "") for row in kept + gone)
    assert by_domain == Counter(row.get("domain", "") for row in received)


def test_books_that_do_not_balance_are_refused(tmp_path: Path, document: Make) -> None:
    row = document("a", "text")
    with Changes(tmp_path / "changes.parquet") as changes:
        ledger = Ledger(changes)
        with pytest.raises(DataError, match="'a' was changed and never received"):
            ledger.change(DOCUMENTS, row, [Change("rule", "reason", 1.0, 4, 3)])
        ledger.receive(DOCUMENTS, row, 4)
        with pytest.raises(DataError, match="1 of 1 documents neither kept nor quarantined, first 'a'"):
            ledger.balance()


def test_changes_of_several_texts_are_one_row_a_rule() -> None:
    changes = [Change("a", "x", 1, 10, 9), Change("b", "y", 1, 9, 8), Change("a", "z", 2, 5, 5)]
    assert together(changes) == [Change("a", "x; z", 3, 15, 14), Change("b", "y", 1, 9, 8)]


_NASTY = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            [
                *SECRETS,
                "\u202e",
                "\u200b",
                "\u00a0",
                "e\u0301",
                "\ufb01",
                "&amp;lt;",
                "&#x41;",
                "\r",
                "\x0b",
                "\x85",
                "\u2028",
                "\ud83d",
                " \n\n\n ",
                "8.8.8.8",
                "[EMAIL]",
                "``''",
                "\u2026",
                "call 5550123 5550199",
            ]
        ),
    ),
    max_size=10,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(_NASTY)
@example("&amp;amp;amp;lt;jane&#64;example.org")
def test_preparing_twice_is_preparing_once(text: str) -> None:
    once = prepare(text, "text", KINDS)
    if "failure" not in once:
        twice = prepare(once["text"], "text", KINDS)
        assert twice["text"] == once["text"] and twice["changes"] == []
