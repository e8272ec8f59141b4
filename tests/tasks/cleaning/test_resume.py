"""A cleaning stage that is killed while it looks for copies, and begun again with other parameters."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts import Artifact, fingerprint_of
from tasks.cleaning import documents
from tasks.cleaning.config import CleaningConfig, NearDuplicates
from tasks.cleaning.pool import Pool
from tasks.cleaning.shingles import Fingerprints
from tasks.stages import cleaning
from tests.tasks import toy


def killed(build: Callable[[], object], after: int) -> int:
    """Run in a fork that kills itself at the given text; the signal that ended it."""
    process = os.fork()
    if process == 0:
        add, seen = Fingerprints.add, [0]

        def add_and_die(self: Fingerprints, *arguments: Any) -> None:
            seen[0] += 1
            if seen[0] == after:
                os.kill(os.getpid(), signal.SIGKILL)
            add(self, *arguments)

        Fingerprints.add = add_and_die  # type: ignore[method-assign]
        try:
            build()
        finally:
            os._exit(0)
    return -os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.fixture
def inputs(
    prose: Callable[..., str], document: Callable[..., Any], ingestion: Callable[..., Artifact]
) -> dict[str, Artifact]:
    """Twenty texts and a near copy of each, the later ones ever less alike."""
    texts = [prose(n, 80) for n in range(20)]
    texts += [f"{text[: -40 - 2 * n]} and it was told in quite another way" for n, text in enumerate(texts)]
    return {"ingestion": ingestion([document(f"d{n:02}", text) for n, text in enumerate(texts)])}


def test_what_a_killed_attempt_left_is_not_used_with_other_parameters(
    tmp_path: Path, inputs: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "Pool", lambda config, kinds: Pool(config, kinds, 1))  # starts faster
    stage = replace(cleaning, contracts={})  # which look at the result, and take longer than all the rest
    first = CleaningConfig()
    other = changed(first, permutations=16, threshold=0.95)

    def build(home: str, config: CleaningConfig) -> Artifact:
        return stage.ensure(toy.untracked_run(tmp_path / home), config, inputs)[0]

    assert killed(lambda: build("home", first), after=30) == signal.SIGKILL
    beside = (tmp_path / "home" / "artifacts" / "cleaning").iterdir()
    (left,) = [path for path in beside if path.suffix != ".lock"]
    assert (left / ".shingles").stat().st_size > 0, "the attempt had begun"
    again = build("home", other)
    assert again.content == build("undisturbed", other).content
    back = build("home", first)
    assert back.content == build("undisturbed", first).content
    assert back.summary()["documents"]["rules"] != again.summary()["documents"]["rules"]


@pytest.mark.parametrize(
    "change", [{"permutations": 64}, {"threshold": 0.5}, {"shingle_words": 3}], ids=lambda c: next(iter(c))
)
def test_every_parameter_of_the_search_is_part_of_the_key(
    change: dict[str, Any], inputs: dict[str, Artifact]
) -> None:
    config = CleaningConfig()
    assert set(change) < set(NearDuplicates.model_fields)
    keys = [fingerprint_of(cleaning.key(each, inputs)) for each in (config, changed(config, **change))]
    assert keys[0] != keys[1]


def changed(config: CleaningConfig, **change: Any) -> CleaningConfig:
    """A configuration with another search for copies."""
    return config.model_copy(update={"near_duplicates": config.near_duplicates.model_copy(update=change)})
