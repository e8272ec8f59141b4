from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import tables
from tasks.artifacts import Artifact
from tasks.cleaning import documents as documents_module
from tasks.cleaning.clean import CleaningSummary, clean
from tasks.cleaning.config import CleaningConfig, RuleConfig, SplitConfig
from tasks.cleaning.documents import check_leakage
from tasks.cleaning.pii import PersonalDataConfig
from tasks.cleaning.pool import Failure, Pool
from tasks.cleaning.shingles import Fingerprints, word_hashes, words
from tasks.errors import DataError

Row = dict[str, Any]
Make = Callable[..., Any]


def run(artifact: Artifact, folder: Path, config: CleaningConfig | None = None) -> CleaningSummary:
    folder.mkdir()
    return clean({"ingestion": artifact}, config or CleaningConfig(), folder)


def read(folder: Path, name: str) -> list[Row]:
    return list(tables.iterate(folder / name))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """One child starts faster than two, and the number changes nothing."""
    monkeypatch.setattr(documents_module, "Pool", lambda config, kinds: Pool(config, kinds, 1))


@pytest.fixture
def corpus(prose: Make, document: Make) -> list[Row]:
    """Fifty good documents, and one for each thing that can be wrong with one."""
    rows = [document(f"good-{n:02}", prose(n, 120)) for n in range(50)]
    rows += [
        document("short", "Too short."),
        document("copy", prose(0, 120).upper()),
        document("near", prose(1, 120) + " and one more"),
        document("digits", "1234567890 2345 345 67 " * 20),
        document(
            "page", f"<html><body><article><p>{prose(60, 90)}</p></article></body></html>", "html", "web"
        ),
        document("article", f"{{{{x}}}}'''It''' {prose(61, 90)}", "wikitext"),
        document("unknown", prose(62, 90), "pdf"),
    ]
    random.Random(1).shuffle(rows)
    return rows


def test_every_record_is_kept_or_quarantined(tmp_path: Path, corpus: list[Row], ingestion: Make) -> None:
    summary = run(ingestion(corpus), tmp_path / "out")
    kept, gone = read(tmp_path / "out", "documents.parquet"), read(tmp_path / "out", "quarantine.parquet")
    assert Counter(row["id"] for row in kept + gone) == Counter(row["id"] for row in corpus)
    assert {row["id"]: row["rule"] for row in gone} == {
        "short": "too-short",
        "good-00": "exact-duplicate",
        "good-01": "near-duplicate",
        "digits": "digits",
        "unknown": "unreadable",
    }
    assert (summary.documents.records_in, summary.documents.kept, summary.documents.dropped) == (57, 52, 5)
    assert summary.documents.kept == sum(summary.documents.splits.values())
    assert [row["id"] for row in kept] == [
        row["id"] for row in corpus if row["id"] not in {g["id"] for g in gone}
    ]


def test_rows_say_what_they_hold(tmp_path: Path, corpus: list[Row], ingestion: Make, prose: Make) -> None:
    run(ingestion(corpus), tmp_path / "out")
    rows = {row["id"]: row for row in read(tmp_path / "out", "documents.parquet")}
    assert rows["page"]["text"] == prose(60, 90)
    assert rows["article"]["text"] == f"It {prose(61, 90)}"
    for row in rows.values():
        assert row["bytes"] == len(row["text"].encode()) and row["words"] == len(words(row["text"]))
        assert row["language"] == "en" or row["language"] == "und"
    for row in read(tmp_path / "out", "quarantine.parquet"):
        assert row["dataset"] == "documents" and len(row["excerpt"]) <= 200 and row["reason"]


def test_the_same_bytes_again_and_with_another_number_of_workers(
    tmp_path: Path,
    corpus: list[Row],
    ingestion: Make,
    sentiment: Make,
    prose: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifact = ingestion(corpus, sentiment=[sentiment(f"s{n}", prose(900 + n, 12)) for n in range(60)])
    summaries = [run(artifact, tmp_path / "first")]
    monkeypatch.setattr(documents_module, "Pool", lambda config, kinds: Pool(config, kinds, 3))
    summaries.append(run(artifact, tmp_path / "second"))
    assert summaries[0] == summaries[1]
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    assert set(digests(tmp_path / "first")) == {
        "documents.parquet",
        "quarantine.parquet",
        "changes.parquet",
        "filter_report.json",
        "labelled/sentiment.parquet",  # the other two sets were not given
    }


def test_which_documents_stay_does_not_depend_on_their_order(
    tmp_path: Path, corpus: list[Row], ingestion: Make
) -> None:
    run(ingestion(corpus), tmp_path / "a")
    run(ingestion(corpus[::-1]), tmp_path / "b")
    a, b = read(tmp_path / "a", "documents.parquet"), read(tmp_path / "b", "documents.parquet")
    assert a == b[::-1]


def test_held_out_labelled_texts_are_kept_out_of_the_documents(
    tmp_path: Path,
    prose: Make,
    document: Make,
    sentiment: Make,
    question: Make,
    translation: Make,
    ingestion: Make,
) -> None:
    tweets = [prose(1000 + n, 6) for n in range(60)]
    contexts = [prose(2000 + n, 80) for n in range(60)]
    rows = [document(f"good-{n}", prose(n, 120)) for n in range(30)]
    rows += [document(f"tweet-{n}", text, domain="social") for n, text in enumerate(tweets)]
    rows += [document(f"context-{n}", f"{prose(5000 + n, 60)} {text}") for n, text in enumerate(contexts)]
    artifact = ingestion(
        rows,
        sentiment=[sentiment(f"s{n}", text) for n, text in enumerate(tweets)],
        question_answering=[question(f"q{n}", f"c{n}", text, text[:8], 0) for n, text in enumerate(contexts)],
        translation=[translation(f"t{n}", prose(7000 + n, 15), prose(8000 + n, 15)) for n in range(30)],
    )
    run(artifact, tmp_path / "out")
    gone = {
        row["id"] for row in read(tmp_path / "out", "quarantine.parquet") if row["rule"] == "contamination"
    }
    expected = set()
    for name, prefix in (("sentiment", "tweet"), ("question-answering", "context")):
        for row in read(tmp_path / "out", f"labelled/{name}.parquet"):
            if row["split"] != "train":
                expected.add(f"{prefix}-{row['id'][1:]}")
    assert {key.split("-")[0] for key in expected} == {"tweet", "context"}
    assert gone == expected


def test_nothing_left_names_the_rule(tmp_path: Path, corpus: list[Row], ingestion: Make) -> None:
    config = CleaningConfig(rules=RuleConfig(min_words=5_000))
    with pytest.raises(
        DataError, match=r"0 of 57 documents left, rule too-short removed 56, rule unreadable"
    ):
        run(ingestion(corpus), tmp_path / "out", config)
    assert not list((tmp_path / "out").glob(".*"))


def test_no_documents_at_all_is_an_error(tmp_path: Path, ingestion: Make) -> None:
    with pytest.raises(DataError, match="0 of 0 documents left"):
        run(ingestion([]), tmp_path / "out")


def test_identical_documents_are_too_few_to_split(
    tmp_path: Path, prose: Make, document: Make, ingestion: Make
) -> None:
    rows = [document(f"d{n}", prose(1, 50)) for n in range(40)]
    with pytest.raises(
        DataError, match="1 of 40 documents left, rule exact-duplicate removed 39; at least 3"
    ):
        run(ingestion(rows), tmp_path / "out")
    with pytest.raises(DataError, match="1 of 1 documents left; at least 3 are needed"):
        run(ingestion(rows[:1]), tmp_path / "single")


def test_too_many_failures_stop_the_stage(tmp_path: Path, corpus: list[Row], ingestion: Make) -> None:
    with pytest.raises(DataError, match=r"1 of 57 documents could not be read.*max_bad_ratio"):
        run(ingestion(corpus), tmp_path / "out", CleaningConfig(max_bad_ratio=0.01))


def test_a_failed_extraction_is_quarantined_with_its_reason(
    tmp_path: Path, corpus: list[Row], ingestion: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Pool):
        def _answer(self, document: Any) -> Any:
            failure = Failure("timeout", "took more than 10 processor seconds", 10.0)
            return failure if document["id"] == "page" else super()._answer(document)

    monkeypatch.setattr(documents_module, "Pool", lambda config, kinds: Failing(config, kinds, 1))
    run(ingestion(corpus), tmp_path / "out")
    (row,) = [row for row in read(tmp_path / "out", "quarantine.parquet") if row["id"] == "page"]
    assert (row["rule"], row["value"], row["domain"]) == ("timeout", 10.0, "web")
    assert row["excerpt"].startswith("<html>")


def test_the_report_adds_up(tmp_path: Path, corpus: list[Row], ingestion: Make) -> None:
    summary = run(ingestion(corpus), tmp_path / "out")
    report = json.loads((tmp_path / "out" / "filter_report.json").read_text())
    assert report["documents"]["in"] == 57
    assert sum(domain["in"] for domain in report["domains"].values()) == 57
    assert sum(rule["dropped"] for rule in report["rules"].values()) == report["documents"]["dropped"]
    assert {name: rule["dropped"] for name, rule in report["rules"].items()} == summary.documents.rules
    assert report["domains"]["web"]["kept"] == 1
    assert report["documents"]["bytes_in"] == sum(len(row["text"].encode()) for row in corpus)


def test_a_planted_leak_is_found(tmp_path: Path, prose: Make) -> None:
    texts = [prose(1, 100), prose(1, 100) + " indeed", prose(2, 100)]
    with Fingerprints(CleaningConfig().near_duplicates, tmp_path / ".shingles") as prints:
        for text in texts:
            prints.add(word_hashes(text, words(text)))
        check_leakage(prints, ["train", "train", "test"], ["a", "b", "c"])
        with pytest.raises(DataError, match=r"'a' \(train\) is a near-duplicate of 'b' \(test\)"):
            check_leakage(prints, ["train", "test", "test"], ["a", "b", "c"])


def test_near_duplicates_that_nobody_removed_stop_the_stage(
    tmp_path: Path, prose: Make, document: Make, ingestion: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty pairs in a corpus where copies are not looked for: some would lie in train and in test."""
    rows = [
        document(f"{n:02}-{word}", f"{prose(n, 120)} {word}") for n in range(40) for word in ("one", "two")
    ]
    config = CleaningConfig(splits=SplitConfig(validation=0.1, test=0.4))
    monkeypatch.setattr(documents_module, "near_duplicates", lambda texts, order: {})
    with pytest.raises(
        DataError, match=r"^cleaning: .* is a near-duplicate of .*\((train|test|validation)\)"
    ):
        run(ingestion(rows), tmp_path / "out", config)
    assert not (tmp_path / "out" / "documents.parquet").exists()
    monkeypatch.undo()
    assert run(ingestion(rows), tmp_path / "sound", config).documents.kept == 40


def test_personal_data_are_replaced_counted_and_kept_out_of_the_quarantine(
    tmp_path: Path, prose: Make, document: Make, sentiment: Make, ingestion: Make
) -> None:
    secret = "Write to jane@example.org or ring +44 20 7946 0958."
    rows = [document(f"good-{n:02}", prose(n, 120)) for n in range(30)]
    rows += [document("told", f"{prose(70, 60)} {secret}"), document("short", secret)]
    labelled = [sentiment(f"s{n}", f"{prose(100 + n, 9)}") for n in range(9)] + [sentiment("s9", secret)]
    source = ingestion(rows, sentiment=labelled)
    summary = run(source, tmp_path / "out")
    tables_out = [
        read(tmp_path / "out", n)
        for n in ("documents.parquet", "labelled/sentiment.parquet", "quarantine.parquet")
    ]
    told = str(tables_out) + (tmp_path / "out" / "filter_report.json").read_text()
    assert "jane@" not in told and "7946" not in told
    (text,) = [row["text"] for row in tables_out[0] if row["id"] == "told"]
    assert text.endswith("Write to [EMAIL] or ring [PHONE].")
    counts = {"records": 2, "email": 2, "phone": 2}
    assert summary.personal_data == {"articles": counts, "sentiment": {"records": 1, "email": 1, "phone": 1}}
    left = run(source, tmp_path / "all", CleaningConfig(personal_data=PersonalDataConfig(kinds=())))
    assert left.personal_data == {} and "jane@" in str(read(tmp_path / "all", "documents.parquet"))


@pytest.mark.parametrize("order", [1, -1])
def test_of_one_address_the_longest_stays_whatever_the_order(
    tmp_path: Path, prose: Make, document: Make, ingestion: Make, order: int
) -> None:
    rows = [document(f"good-{n:02}", prose(n, 60)) for n in range(30)]
    rows += [
        document("long", prose(70, 90)) | {"uri": "https://example.org/page"},
        document("old", prose(71, 60)) | {"uri": "http://www.example.org/page/?utm_source=x"},
        document("else", prose(72, 60)) | {"uri": "https://example.org/page?id=2"},
    ]
    source = ingestion(rows[::order])
    run(source, tmp_path / "out")
    assert [
        (row["id"], row["rule"], row["reason"]) for row in read(tmp_path / "out", "quarantine.parquet")
    ] == [("old", "url-duplicate", "same address as long")]
    assert run(source, tmp_path / "all", CleaningConfig(url_duplicates=False)).documents.kept == len(rows)
