"""Hugging Face datasets: local copies read row by row, the hub asked for a commit, and nothing of theirs run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from web_server import serving

from tasks import tables
from tasks.errors import SourceError
from tasks.sources import hub
from tasks.sources.config import HuggingFaceSource, IngestionConfig
from tasks.sources.counts import IngestionSummary
from tasks.sources.ingest import ingest
from tasks.sources.observation import observe

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = {"body": ["one", None, "three", "  "], "key": ["a", "b", "c", "d"], "year": [1, 2, 3, 4]}


def source(**changes: Any) -> HuggingFaceSource:
    return HuggingFaceSource.model_validate(
        {"domain": "web", "licence": "CC0-1.0", "text": "body", **changes}
    )


def run(folder: Path, found: HuggingFaceSource) -> tuple[IngestionSummary, list[dict[str, Any]]]:
    folder.mkdir()
    summary = ingest({}, IngestionConfig(sources=(found,), max_bad_ratio=0.6), folder)
    return summary, list(tables.iterate(folder / "documents.parquet"))


@pytest.fixture(params=["saved", "saved with splits", "parquet", "json"])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A local copy in each of the forms that people have."""
    folder, rows = tmp_path / "reviews", datasets.Dataset.from_dict(ROWS)
    if request.param == "saved":
        rows.save_to_disk(str(folder))
    elif request.param == "saved with splits":
        datasets.DatasetDict({"train": rows}).save_to_disk(str(folder))
    else:
        folder.mkdir()
        write = rows.to_parquet if request.param == "parquet" else rows.to_json
        write(str(folder / f"train-00000.{request.param}"))
    return folder


def test_a_local_copy_is_read_and_every_row_accounted_for(local: Path, tmp_path: Path) -> None:
    summary, rows = run(tmp_path / "out", source(path=str(local), id="key"))
    assert [(row["text"], row["uri"]) for row in rows] == [
        ("one", "hf:reviews/train#a"),
        ("three", "hf:reviews/train#c"),
    ]
    counts = summary.sources["reviews train"]
    assert (counts.kept, counts.quarantined) == (2, 2)
    bad = list(tables.iterate(tmp_path / "out" / "quarantine.parquet"))
    assert [(row["rule"], row["uri"]) for row in bad] == [
        ("null-text", "hf:reviews/train#2"),
        ("empty", "hf:reviews/train#4"),
    ]


def test_a_limit_takes_the_first_rows(local: Path, tmp_path: Path) -> None:
    summary, _ = run(tmp_path / "out", source(path=str(local), limit=2))
    assert summary.sources["reviews train"].kept + summary.sources["reviews train"].quarantined == 2


def test_the_fingerprint_sees_every_byte_of_a_local_copy(local: Path) -> None:
    config = IngestionConfig(sources=(source(path=str(local)),))
    first = observe(config)
    assert first and observe(config) == first
    name = next(path for path in sorted(local.rglob("*")) if path.is_file())
    name.write_bytes(name.read_bytes() + b" ")
    assert observe(config) != first


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text": "words"}, "has no column 'words'; its columns are body, key, year"),
        ({"split": "test"}, "cannot be loaded|0 records"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    local: Path, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    if changes == {"split": "test"} and (local / "dataset_info.json").is_file():
        pytest.skip("a single saved split has no name")
    with pytest.raises(SourceError, match=problem) as caught:
        run(tmp_path / "out", source(path=str(local), **changes))
    assert "\n" not in str(caught.value) and "reviews" in str(caught.value)


@pytest.mark.parametrize("name", ["reviews.py", "data.pkl", "deep/model.pt"])
def test_a_folder_with_code_in_it_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    path, canary = tmp_path / "reviews" / name, tmp_path / "canary"
    path.parent.mkdir(parents=True)
    path.write_text(f"open({str(canary)!r}, 'w')")
    for act in (hub.digests, lambda found: list(hub.read(found, lambda *_: None))):  # type: ignore[arg-type,return-value]
        with pytest.raises(SourceError, match=f"holds {name}, which could run code"):
            act(source(path=str(tmp_path / "reviews")))
    assert not canary.exists()


def test_a_branch_is_pinned_to_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    with serving() as site:
        told = json.dumps(
            {"id": "user/set", "sha": COMMIT, "private": False, "tags": [], "downloads": 0}
        ).encode()
        site.answers["/api/datasets/user/set/revision/main"] = lambda handler: handler.reply(
            200, told, Content_Type="application/json"
        )
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint=site.url("")))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        assert hub.digests(source(name="user/set", revision="main")) == {"hf:user/set/train": COMMIT}


def test_a_commit_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: pytest.fail("the hub was asked"))
    assert hub.digests(source(name="user/set", revision=COMMIT)) == {"hf:user/set/train": COMMIT}


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(SourceError, match=r"the hub does not tell its version .*HF_ENDPOINT") as caught:
        hub.digests(source(name="user/set"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, "give either the `name`"),
        ({"name": "user/set", "path": "folder"}, "give either the `name`"),
        ({"path": "folder", "streaming": True}, "are for datasets of the hub"),
        ({"name": "../../etc/passwd"}, "pattern"),
        ({"name": "user/set", "trust_remote_code": True}, "trust_remote_code"),
    ],
)
def test_a_wrong_description_is_refused(changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        source(**changes)
