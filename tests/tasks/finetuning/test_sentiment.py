"""Fine-tuning a classifier: it learns, any labels work, files repeat byte for byte, a killed run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from models.classification import classify
from models.export import load_tokenizer
from models.head_export import load_head
from models.heads import Classifier
from tasks.errors import ArtifactError, DataError
from tasks.finetuning.sentiment import SentimentConfig, finetune_sentiment
from tests.tasks.finetuning import tiny

ROOT = Path(__file__).parents[3]
FILES = {
    "config.json",
    "curves.parquet",
    "finetuning.json",
    "generation_config.json",
    "head.json",
    "head.safetensors",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def labels_of(home: Path, change: tiny.Change, folder: Path) -> tuple[str, ...]:
    folder.mkdir()
    finetune_sentiment(tiny.inputs(home, change), tiny.config(steps=2), folder)
    head, _ = load_head(folder)
    assert isinstance(head, Classifier)
    return head.labels


def test_it_learns_and_says_what_it_learned(home: Path, tmp_path: Path) -> None:
    summary = tiny.run(home, tmp_path / "run", steps=120)
    assert summary.validation["accuracy"] > 0.9
    assert summary.validation["macro_f1"] > 0.85
    assert (summary.task, summary.examples, summary.left_out, summary.cut) == ("sentiment", 90, 0, 0)
    assert sum(summary.labels.values()) == 90
    assert list(summary.labels) == ["bad", "good", "so-so"]
    files = tiny.contents(tmp_path / "run")
    assert files.keys() == FILES
    assert json.loads(files["finetuning.json"])["summary"] == summary.model_dump(mode="json")
    head, described = load_head(tmp_path / "run")
    assert isinstance(head, Classifier)
    assert (described.task, described.labels, described.max_tokens) == (
        "sentiment",
        ("bad", "good", "so-so"),
        32,
    )
    rows = [row for row in tiny.labelled() if row["split"] == "validation"]
    texts = [row["text"] for row in rows]
    chosen = classify(head, load_tokenizer(tmp_path / "run"), texts, max_tokens=32).argmax(1)
    right = [head.labels[n] == row["label"] for n, row in zip(chosen, rows, strict=True)]
    assert sum(right) / len(right) == pytest.approx(summary.validation["accuracy"])
    curve = pq.read_table(tmp_path / "run" / "curves.parquet").to_pylist()
    assert [row["step"] for row in curve] == list(range(1, 121))
    assert curve[-1]["validation_accuracy"] == summary.validation["accuracy"]
    assert curve[0]["validation_accuracy"] is None


def test_the_same_run_gives_the_same_bytes(home: Path, tmp_path: Path) -> None:
    first, second = (tiny.run(home, tmp_path / name) for name in ("one", "two"))
    assert first == second
    assert tiny.contents(tmp_path / "one") == tiny.contents(tmp_path / "two")
    tiny.run(home, tmp_path / "other", seed=1)
    assert (
        tiny.contents(tmp_path / "other")["model.safetensors"]
        != tiny.contents(tmp_path / "one")["model.safetensors"]
    )


def test_killed_and_started_again_it_writes_the_same_bytes(home: Path, tmp_path: Path) -> None:
    tiny.run(home, tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    arguments = [str(Path(tiny.__file__)), str(home), str(tmp_path / "killed"), "{}"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    kept, deadline = tmp_path / "killed" / "checkpoints", time.monotonic() + 120
    while not list(kept.glob("step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "finetuning.json").exists()
    tiny.run(home, tmp_path / "killed")
    assert tiny.contents(tmp_path / "killed") == tiny.contents(tmp_path / "whole")


def test_direction_decides_what_is_learned(home: Path, tmp_path: Path) -> None:
    tiny.run(home, tmp_path / "both", steps=3)
    tiny.run(home, tmp_path / "one", steps=3, bidirectional=False)
    both, one = (tiny.contents(tmp_path / name) for name in ("both", "one"))
    assert both["model.safetensors"] != one["model.safetensors"]
    assert (load_head(tmp_path / "both")[1].bidirectional, load_head(tmp_path / "one")[1].bidirectional) == (
        True,
        False,
    )


def test_any_labels_will_do(home: Path, tmp_path: Path) -> None:
    def stars(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"label": str(len(row["text"]) % 5)}

    assert labels_of(home, stars, tmp_path / "stars") == ("0", "1", "2", "3", "4")
    odd = {"bad": "", "good": "\u00e9 \U0001f600 \u202e", "so-so": "a\nb"}
    assert labels_of(home, lambda row: row | {"label": odd[row["label"]]}, tmp_path / "odd") == tuple(
        sorted(odd.values())
    )


def test_one_label_is_an_error_that_says_what_to_do(home: Path, tmp_path: Path) -> None:
    given = tiny.inputs(home, lambda row: row | {"label": "good"})
    with pytest.raises(
        DataError, match=r"sentiment\.parquet: every training row has the label 'good'.*; add rows"
    ):
        finetune_sentiment(given, tiny.config(), tmp_path)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_an_error(home: Path, tmp_path: Path, split: str) -> None:
    given = tiny.inputs(home, lambda row: None if row["split"] == split else row)
    with pytest.raises(DataError, match=f"the {split} split has no row; add labelled rows"):
        finetune_sentiment(given, tiny.config(), tmp_path)


def test_the_test_split_is_never_looked_at(home: Path, tmp_path: Path) -> None:
    tiny.run(home, tmp_path / "whole", steps=4)
    (tmp_path / "without").mkdir()
    given = tiny.inputs(home, lambda row: None if row["split"] == "test" else row)
    finetune_sentiment(given, tiny.config(steps=4), tmp_path / "without")
    assert tiny.contents(tmp_path / "without") == tiny.contents(tmp_path / "whole")


def test_a_validation_label_unknown_to_training_counts_as_wrong(home: Path, tmp_path: Path) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"label": "new"} if row["split"] == "validation" else row

    summary = finetune_sentiment(tiny.inputs(home, change), tiny.config(steps=2), tmp_path)
    assert summary.validation == {"accuracy": 0.0, "macro_f1": 0.0}


def test_cut_rows_are_counted(home: Path, tmp_path: Path) -> None:
    given = tiny.inputs(
        home, lambda row: row | {"text": row["text"] + " and by name" * (row["id"] == "train-7") * 30}
    )
    summary = finetune_sentiment(given, tiny.config(steps=2, max_tokens=32), tmp_path)
    assert (summary.examples, summary.cut) == (90, 1)
    assert load_head(tmp_path)[1].max_tokens == 32


def test_the_context_of_the_model_bounds_what_is_read(home: Path, tmp_path: Path) -> None:
    tiny.run(home, tmp_path / "run", steps=2, max_tokens=5000)
    assert load_head(tmp_path / "run")[1].max_tokens == 32


def test_without_a_labelled_set_the_error_names_it(home: Path, tmp_path: Path) -> None:
    given = tiny.inputs(home)
    with pytest.raises(ArtifactError, match=r"labelled/sentiment\.parquet"):
        finetune_sentiment({**given, "cleaning": given["pretraining"]}, tiny.config(), tmp_path)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="bidirectionl"):
        SentimentConfig.model_validate({"bidirectionl": False})
