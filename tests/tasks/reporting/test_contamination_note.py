"""What the report says of an evaluation set that stood in the corpus."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tasks.reporting.contamination_note import contamination
from tasks.reporting.sources import Evidence


class Cleaned:
    """Evidence with nothing but what cleaning told."""

    def __init__(self, **sets: dict[str, int]) -> None:
        self._sets = {name.replace("_", "-"): counts for name, counts in sets.items()}

    def summary(self, stage: str) -> dict[str, Any]:
        assert stage == "cleaning"
        return {"contamination": self._sets}


def told(suite: str, **counts: int) -> str:
    evidence = cast(Evidence, Cleaned(**{suite: counts}))
    return " ".join(contamination(evidence, suite))


def test_what_was_found_and_what_could_not_be_looked_for_is_said() -> None:
    said = told("question_answering", texts=1200, short=7, found=3, documents=2)
    assert "1,200 held-out texts 3 stood in the corpus, in 2 documents, all of which were removed" in said
    assert "7 of the texts are too short" in said
    assert told("sentiment", texts=5, short=0, found=0, documents=0) == (
        "Contamination: none of its 5 held-out texts stood in the corpus."
    )


@pytest.mark.parametrize("suite", ["sentiment", "identity_swaps"])
def test_nothing_is_said_of_a_set_that_is_not_there(suite: str) -> None:
    assert contamination(cast(Evidence, Cleaned(sentiment={"texts": 0})), suite) == []
