"""Which version answers: registered once, handed over without a gap, and taken back in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from tasks import registry as names
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, ConfigError
from tasks.registry import Registry, content_of
from tasks.tracking import Tracker
from tests.tasks.promotion.contestants import candidate

Artifacts = dict[str, Artifact]


class Killed(BaseException):
    """What stands for the end of the process."""


class Mortal(Tracker):
    """A tracker that dies before its n-th write to the registry, and looks at the champion at every call."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.left: int | None = None
        self.champions: list[str | None] = []

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if method.startswith(("set_", "delete_", "create_")):
            found = super().call("search_registered_models", filter_string="name = 'unveil'")
            self.champions.append(str(found[0].aliases.get("champion")) if found else None)
            if self.left == 0:
                raise Killed
            self.left = None if self.left is None else self.left - 1
        return super().call(method, *args, **kwargs)


@pytest.fixture
def tracker(tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Mortal:
    """The copy of the model into the store is tested with the service; here it is left out."""
    monkeypatch.setattr(Tracker, "log_model", lambda self, run_id, name, **_: f"runs:/{run_id}/{name}")
    return Mortal(tracked_workspace)


@pytest.fixture
def run_id(tracker: Mortal) -> str:
    return tracker.start("lifecycle", tags={}, params={})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Artifacts]:
    """Read only."""
    home = tmp_path_factory.mktemp("models")
    first = candidate(home)
    return [first, *(candidate(home, cleaning=first["cleaning"], seed=seed) for seed in (1, 2))]


def state(tracker: Tracker) -> tuple[dict[str, str], dict[str, str]]:
    """Aliases, and the status of every version."""
    registry = Registry(Tracker(tracker.home))
    found = MlflowClient(tracker.uri).search_model_versions("name = 'unveil'")
    return registry.aliases(), {str(v.version): v.tags[names.STATUS] for v in found}


def test_the_same_models_are_one_version(tracker: Mortal, run_id: str, models: list[Artifacts]) -> None:
    registry = Registry(tracker)
    assert registry.champion() is None and registry.aliases() == {}
    one = registry.register(models[0], run_id)
    again = registry.register(models[0], run_id)
    other = registry.register(models[1], run_id)
    assert (one.number, again.number, other.number) == ("1", "1", "2")
    assert registry.aliases() == {"challenger": "2"}
    examined_anew = models[0] | {"evaluation": models[1]["evaluation"]}
    assert content_of(examined_anew) == content_of(models[0])
    assert registry.register(examined_anew, run_id).number == "1"
    assert registry.open("1").artifacts["evaluation"] == models[1]["evaluation"]


def test_promotion_moves_the_champion_and_keeps_the_former(
    tracker: Mortal, run_id: str, models: list[Artifacts]
) -> None:
    registry = Registry(tracker)
    for model in models[:2]:
        number = registry.register(model, run_id).number
        registry.promote(number, f"better {number}")
        registry.promote(number, "again, which changes nothing")
    assert state(tracker) == (
        {"champion": "2", "previous": "1", "challenger": "2"},
        {"1": names.REPLACED, "2": names.PROMOTED},
    )
    champion = registry.champion()
    assert champion is not None and champion.version == "2" and champion.artifacts == models[1]
    assert registry.version("2").tags[names.REASON] == "better 2"
    assert registry.version("2").against == "1" and registry.version("1").against == ""


def test_whom_a_model_is_judged_against(tracker: Mortal, run_id: str, models: list[Artifacts]) -> None:
    registry = Registry(tracker)
    assert registry.reference(models[0]) is None
    registry.promote(registry.register(models[0], run_id).number, "first")
    assert registry.reference(models[0]) is None  # the question it was asked then
    found = registry.reference(models[1])
    assert found is not None and found.version == "1"
    registry.promote(registry.register(models[1], run_id).number, "second")
    found = registry.reference(models[1])
    assert found is not None and found.version == "1"


def test_a_rollback_and_another(tracker: Mortal, run_id: str, models: list[Artifacts]) -> None:
    registry = Registry(tracker)
    with pytest.raises(ConfigError, match="no champion"):
        registry.rollback("why")
    registry.promote(registry.register(models[0], run_id).number, "first")
    with pytest.raises(ConfigError, match="before this one"):
        registry.rollback("why")
    registry.promote(registry.register(models[1], run_id).number, "second")
    assert registry.rollback("it swears") == "1"
    assert state(tracker) == (
        {"champion": "1", "previous": "2", "challenger": "2"},
        {"1": names.PROMOTED, "2": names.ROLLED_BACK},
    )
    assert registry.version("2").tags[names.REASON] == "it swears"
    assert registry.rollback("it was not the model") == "2"
    assert state(tracker)[0]["champion"] == "2"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["promote", "rollback"])
def test_killed_at_any_write_there_is_a_champion_and_a_rerun_converges(
    what: str, tracker: Mortal, run_id: str, models: list[Artifacts]
) -> None:
    registry = Registry(tracker)
    for model in models[:2]:
        registry.promote(registry.register(model, run_id).number, "earlier")
    candidates = [models[2]]
    actions: dict[str, Callable[[], Any]] = {
        "promote": lambda: registry.promote(registry.register(candidates[0], run_id).number, "third"),
        "rollback": lambda: registry.rollback("why"),
    }
    expected = {
        "promote": ({"champion": "3", "previous": "2", "challenger": "3"}, "promoted"),
        "rollback": ({"champion": "1", "previous": "2", "challenger": "2"}, "rolled_back"),
    }[what]
    deaths, after = 0, 0
    tracker.champions.clear()
    for _ in range(60):
        tracker.left = after
        try:
            actions[what]()
            break
        except Killed:
            deaths += 1
            tracker.left = None
            assert Registry(Tracker(tracker.home)).champion() is not None
        # A process that dies ever later: each attempt gets one write further from where things stand.
        after = 1
    else:
        pytest.fail("it does not converge")
    tracker.left = None
    assert deaths >= 4
    assert None not in tracker.champions and "None" not in tracker.champions
    aliases, statuses = state(tracker)
    assert aliases == expected[0]
    assert statuses["3" if what == "promote" else "2"] == expected[1]
    assert len(statuses) == (3 if what == "promote" else 2)


@pytest.mark.parametrize("writes", [1, 2, 4])
def test_killed_once_after_any_number_of_writes_the_rollback_is_made_once(
    writes: int, tracker: Mortal, run_id: str, models: list[Artifacts]
) -> None:
    registry = Registry(tracker)
    for model in models[:2]:
        registry.promote(registry.register(model, run_id).number, "earlier")
    tracker.left = writes
    try:
        registry.rollback("why")
        finished = True
    except Killed:
        finished = False
    tracker.left = None
    if not finished:
        registry.rollback("why")
    assert state(tracker)[0] == {"champion": "1", "previous": "2", "challenger": "2"}


def test_a_champion_whose_artefact_was_altered_is_refused_by_name(tracker: Mortal, run_id: str) -> None:
    registry, model = Registry(tracker), candidate(tracker.home)
    number = registry.register(model, run_id).number
    registry.promote(number, "first")
    assert registry.version(number).tags["unveil.pretraining"].startswith("artifacts/pretraining/")
    path = model["pretraining"].file("config.json")
    path.write_text(path.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"version 1 .* pretraining .*--yes --why"):
        registry.champion()


def test_a_deleted_version_is_told(tracker: Mortal, run_id: str, models: list[Artifacts]) -> None:
    registry = Registry(tracker)
    registry.register(models[0], run_id)
    with pytest.raises(ArtifactError, match="version 7"):
        registry.version("7")


def test_two_processes_worth_of_registries_make_one_version(
    tracker: Mortal, run_id: str, models: list[Artifacts]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: Registry(Tracker(tracker.home)).register(models[0], run_id).number, range(4))
        )
    assert found == ["1"] * 4
