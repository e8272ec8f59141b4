"""What a registered model answers, in the process and over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from models.export import load_pretrained, load_tokenizer
from models.generation import GenerationConfig, generate
from models.head_export import save_head
from models.heads import Classifier, Translator
from tasks.artifacts import Artifact, Store
from tasks.registry import Registry
from tasks.serving.bundle import requirements, write_bundle
from tasks.serving.service import MOST_CHARACTERS, BadRequestError, Desk
from tasks.tracking import Tracker
from tests.tasks.evaluation import tiny_inputs
from tests.tasks.promotion.contestants import candidate


def with_heads(home: Path) -> dict[str, Artifact]:
    """A candidate with a sentiment and a translation model, untrained."""
    found, store = candidate(home), Store(home)
    base = found["pretraining"]
    heads = {
        "finetuning-sentiment": Classifier(load_pretrained(base.path), ("negative", "positive"), seed=1),
        "finetuning-translation": Translator(load_pretrained(base.path)),
    }
    for stage, head in heads.items():

        def write(folder: Path, head: Any = head) -> None:
            (folder / "curves.parquet").write_bytes(b"no")
            save_head(head, folder, base.file("tokenizer.json"), max_tokens=24, settings={})

        found[stage] = tiny_inputs.artifact(store, stage, write, base=base.content)
    return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    home = tmp_path_factory.mktemp("desk")
    write_bundle(with_heads(home / "home"), home / "bundle")
    assert not list((home / "bundle").rglob("*.parquet"))
    return Desk(home / "bundle")


def test_rows_of_several_tasks_are_answered_in_order(desk: Desk) -> None:
    rows = [
        {"task": "sentiment", "text": "a quiet mill"},
        {"task": "generate", "text": "the old river", "max_new_tokens": 5.0, "seed": 3},
        {"task": "sentiment", "text": "slow green water"},
        {"task": "translation", "text": "the mill"},
    ]
    found = desk.answer(rows)
    assert [answer["task"] for answer in found] == [row["task"] for row in rows]
    assert found[1]["text"] == generate(
        desk.model, desk.tokenizer, "the old river", GenerationConfig(max_new_tokens=5, seed=3)
    )
    assert set(found[0]["probabilities"]) == {"negative", "positive"}
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert isinstance(found[3]["text"], str)
    assert found == desk.answer(json.loads(json.dumps(rows)))
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"task": "sing", "text": "a"}, "must be one of generate, sentiment, translation"),
        ({"text": "a"}, "task is"),
        ({"task": "question-answering", "text": "a", "question": "b"}, "must be one of"),
        ({"task": "sentiment"}, "text must be text"),
        ({"task": "sentiment", "text": 7}, "text must be text"),
        ({"task": "sentiment", "text": " "}, "is empty"),
        ({"task": "sentiment", "text": "\ud800"}, "Unicode"),
        ({"task": "generate", "text": "x" * (MOST_CHARACTERS + 1)}, "longer than"),
        ({"task": "generate", "text": "a", "max_new_tokens": 1.5}, "whole number"),
        ({"task": "generate", "text": "a", "max_new_tokens": 10**9}, "whole number"),
        ({"task": "generate", "text": "a", "temperature": "hot"}, "temperature"),
        ({"task": "generate", "text": "river " * 500}, "context holds"),
    ],
)
def test_a_bad_row_is_told_in_one_line(row: dict[str, Any], told: str, desk: Desk) -> None:
    with pytest.raises(BadRequestError, match=told) as caught:
        desk.answer([{"task": "generate", "text": "fine", "max_new_tokens": 1}, row])
    assert "\n" not in str(caught.value) and "/" not in str(caught.value)


def test_requirements_are_exact_and_without_a_local_build() -> None:
    assert all("==" in line and "+" not in line for line in requirements())


@pytest.fixture
def registered(tracked_workspace: Path) -> Tracker:
    """A workspace with a champion."""
    tracker = Tracker(tracked_workspace)
    registry = Registry(tracker)
    run_id = tracker.start("lifecycle", tags={}, params={})
    registry.promote(registry.register(with_heads(tracked_workspace), run_id).number, "first")
    return tracker


def test_the_champion_loads_without_pickle_and_without_paths_of_this_machine(registered: Tracker) -> None:
    folder = next((registered.home / "mlartifacts").rglob("MLmodel")).parent
    for path in folder.rglob("*"):
        assert path.suffix not in {".pkl", ".pyc"}
        if path.suffix in {"", ".yaml", ".txt", ".json"} and path.is_file():
            assert str(registered.home) not in path.read_text()
            assert str(Path(__file__).parents[3]) not in path.read_text()
    program = (
        "import mlflow, json, pandas; m = mlflow.pyfunc.load_model('models:/unveil@champion');"
        "rows = [{'task': 'generate', 'text': 'the old', 'max_new_tokens': 4}, {'task': 'sentiment', 'text': 'a'}];"
        "a, b = m.predict(rows), m.predict(pandas.DataFrame(rows)); assert a == b; print(json.dumps(a))"
    )
    environment = served_environment(registered)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=registered.home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    tokenizer = load_tokenizer(folder / "artifacts" / "bundle" / "pretraining")
    model = load_pretrained(folder / "artifacts" / "bundle" / "pretraining")
    assert answers[0]["text"] == generate(model, tokenizer, "the old", GenerationConfig(max_new_tokens=4))
    assert answers[1]["label"] in ("negative", "positive")


@pytest.mark.slow
def test_the_champion_answers_over_http(registered: Tracker) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/unveil@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    log = registered.home / "serve.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command,
            env=served_environment(registered),
            cwd=registered.home,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, log)
        good = {"dataframe_records": [{"task": "generate", "text": "the old", "max_new_tokens": 4}]}
        status, body = post(port, good)
        assert status == 200 and isinstance(body["predictions"][0]["text"], str)
        status, body = post(port, {"inputs": [{"task": "sentiment", "text": "a quiet mill"}]})
        assert status == 200 and body["predictions"][0]["label"] in ("negative", "positive")
        status, body = post(port, {"dataframe_records": [{"task": "sing", "text": "x"}]})
        assert status == 400 and "must be one of" in body["message"]
        assert "Traceback" not in json.dumps(body) and ".py" not in json.dumps(body)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
    # The server's own child goes a moment after it.
    deadline = time.monotonic() + 30
    while _answers(port):
        assert time.monotonic() < deadline, "still listening after SIGTERM"
        time.sleep(0.1)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def served_environment(tracker: Tracker) -> dict[str, str]:
    """An environment without this project on the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW_", "UNVEIL_"))}
    bin_folder = str(Path(sys.executable).parent)
    law = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    path = {"PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    return kept | law | path | {"MLFLOW_TRACKING_URI": tracker.uri, "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"no answer: {log.read_text()[-2000:]}")


def post(port: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    address = f"http://127.0.0.1:{port}/invocations"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
