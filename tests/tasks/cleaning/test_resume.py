"""A cleaning stage that is killed while it looks for copies, and begun again with other parameters."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts import Artifact
from tasks.cleaning.config import CleaningConfig
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


@pytest.mark.parametrize(
    "change", [{"permutations": 64}, {"threshold": 0.5}, {"shingle_words": 3}], ids=lambda c: next(iter(c))
)
def test_what_a_killed_attempt_left_is_not_used_with_other_parameters(
    change: dict[str, Any],
    tmp_path: Path,
    prose: Callable[..., str],
    document: Callable[..., Any],
    ingestion: Callable[..., Artifact],
) -> None:
    texts = [prose(n, 80) for n in range(40)]
    texts += [f"{text[: -40 - n]} and then it was told in quite another way" for n, text in enumerate(texts)]
    inputs = {"ingestion": ingestion([document(f"d{n:02}", text) for n, text in enumerate(texts)])}
    first = CleaningConfig()
    other = first.model_copy(update={"near_duplicates": first.near_duplicates.model_copy(update=change)})

    def build(home: str, config: CleaningConfig) -> Artifact:
        return cleaning.ensure(toy.untracked_run(tmp_path / home), config, inputs)[0]

    assert killed(lambda: build("home", first), after=len(texts) // 2) == signal.SIGKILL
    again = build("home", other)
    assert again.content == build("undisturbed", other).content
    back = build("home", first)
    assert back.fingerprint != again.fingerprint
    assert back.content == build("undisturbed", first).content
