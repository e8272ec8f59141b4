"""`unveil promote` and `unveil rollback` on models whose numbers we choose: what happens, and the exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import presets
from flows.cli import main
from flows.promotion import contend
from flows.running import inspect_flow
from tasks import runs
from tasks.artifacts import Artifact
from tasks.registry import Registry
from tasks.tracking import Tracker
from tests.tasks.promotion.contestants import answers, candidate

Artifacts = dict[str, Artifact]
GOOD = answers("sentiment", "correct", {"model": 0.8, "majority": 0.5})
FLIPPED = answers("sentiment", "correct", {"model": 0.15, "majority": 0.5})


@pytest.fixture
def home(tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy of the model into the store is tested with the service; here it is left out."""
    monkeypatch.setattr(Tracker, "log_model", lambda self, run_id, name, **_: f"runs:/{run_id}/{name}")
    return tracked_workspace


def evaluated(artifacts: Artifacts) -> None:
    """A finished run whose newest stages made these artefacts."""
    config = presets.named("smoke").model_dump(mode="json")
    with runs.running("lifecycle", config, preset="smoke") as run:
        for stage, artifact in artifacts.items():
            run.record(stage, artifact=str(artifact.path), fingerprint=artifact.fingerprint)


def aliases(home: Path) -> dict[str, str]:
    return registry(home).aliases()


def registry(home: Path) -> Registry:
    return Registry(Tracker(home), presets.named("smoke").promotion.registered_model)


def test_a_first_model_then_a_planted_regression_then_a_rollback(home: Path, capsys: Any) -> None:
    first = candidate(home, items=GOOD)
    evaluated(first)
    assert main(["promote"]) == 0
    assert aliases(home) == {"champion": "1", "challenger": "1"}
    assert main(["promote"]) == 0
    assert "champion: version 1" in capsys.readouterr().out
    assert len(Tracker(home).call("search_model_versions", "name = 'unveil-smoke'")) == 1

    evaluated(candidate(home, items=FLIPPED, cleaning=first["cleaning"], seed=1))
    assert main(["promote"]) == 4
    said = capsys.readouterr()
    assert "sentiment.correct" in said.err and "worse by more than the margin" in said.err
    assert main(["promote", "--yes", "--why", "I like it"]) == 4  # a refusal stands
    assert aliases(home) == {"champion": "1", "challenger": "2"}
    assert registry(home).version("2").status == "refused"
    assert main(["rollback", "--why", "there is nothing before it"]) == 2

    better = {"model": 1.9, "unigram": 4.0}
    evaluated(candidate(home, items=GOOD, cleaning=first["cleaning"], seed=2, bits=better))
    assert main(["promote"]) == 0
    assert aliases(home) == {"champion": "3", "previous": "1", "challenger": "3"}
    assert main(["rollback", "--why", "it swears"]) == 0
    assert aliases(home)["champion"] == "1"
    capsys.readouterr()
    assert main(["promote"]) == 3  # what a person took back, no machine puts forward again
    assert "it swears" in capsys.readouterr().err
    assert main(["promote", "--yes", "--why", "it was the prompt"]) == 0
    assert aliases(home) == {"champion": "3", "previous": "1", "challenger": "3"}


def test_an_unsure_verdict_waits_for_a_person(home: Path, capsys: Any) -> None:
    same = {"model": 4.0, "unigram": 4.0}
    evaluated(candidate(home, bits=same))
    assert main(["promote"]) == 3
    assert "unveil promote --yes --why" in capsys.readouterr().err
    assert "champion" not in aliases(home)
    assert main(["promote", "--yes"]) == 2
    assert main(["promote", "--yes", "--why", "the test set is too small"]) == 0
    assert aliases(home)["champion"] == "1"
    assert registry(home).version("1").tags["unveil.reason"] == "the test set is too small"


def test_a_champion_that_cannot_be_read_is_no_silent_pass(home: Path) -> None:
    first = candidate(home, items=GOOD)
    evaluated(first)
    assert main(["promote"]) == 0
    evaluated(candidate(home, items=GOOD, cleaning=first["cleaning"], seed=1))
    first["pretraining"].file("model.safetensors").write_bytes(b"broken")
    assert main(["promote"]) == 3
    assert aliases(home)["champion"] == "1"


def test_nothing_to_promote_and_nothing_to_roll_back(home: Path, capsys: Any) -> None:
    assert main(["promote"]) == 2
    assert main(["rollback", "--why", "why"]) == 2
    assert "unveil run" in capsys.readouterr().err


def test_asking_again_is_answered_from_the_store(home: Path) -> None:
    first = candidate(home, items=GOOD)
    config = presets.named("smoke")
    described = config.model_dump(mode="json")
    for cached in (False, True):
        with runs.running("lifecycle", described, preset="smoke") as run:
            outcome = contend(config, first)
        assert run.stages["promotion"]["cached"] is cached
        assert outcome["verdict"] == ("champion" if cached else "promote")
        assert run.as_dict()["notes"]["promotion"]["version"] == "1"
    found = inspect_flow("lifecycle", lambda given: contend(given, first), "smoke")
    assert [item.stage for item in found if item.fresh] == ["promotion"]


def test_a_run_that_ends_at_promotion_registers_too(home: Path) -> None:
    config = presets.named("smoke")
    described = config.model_dump(mode="json")
    with runs.running("lifecycle", described, preset="smoke", until="promotion"):
        contend(config, candidate(home, items=GOOD))
    assert aliases(home)["champion"] == "1"


def test_looking_makes_no_store(workspace: Path) -> None:
    artifacts = candidate(workspace, items=GOOD)
    inspect_flow("lifecycle", lambda config: contend(config, artifacts), "smoke")
    assert not (workspace / "mlflow.db").exists()
