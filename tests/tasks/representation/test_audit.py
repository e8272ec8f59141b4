"""The audit's numbers: rates by hand, intervals that cover, a planted leaning that is found."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.evaluation.records import Record
from tasks.representation.audit import RATE, WOMEN, RepresentationConfig, examine_representation

Documents = list[dict[str, str]]
CONFIG = RepresentationConfig(least_mentions=5)


def examined(documents: Documents, config: RepresentationConfig = CONFIG, samples: int = 200) -> list[Record]:
    return examine_representation(documents, config, samples=samples, seed=1).records


def one(records: list[Record], metric: str, condition: str, domain: str = "(all)") -> Record:
    (found,) = (r for r in records if (r.metric, r.condition, r.domain) == (metric, condition, domain))
    return found


def document(text: str, domain: str = "books") -> dict[str, str]:
    return {"id": "any", "text": text, "domain": domain}


def test_rates_are_mentions_over_words_in_all_and_by_domain() -> None:
    documents = [document("she went home again"), document("so did he", "web"), document("and they did")]
    records = examined(documents)
    assert one(records, RATE, "gender: women").value == pytest.approx(1e6 / 10)
    assert one(records, RATE, "gender: women", "books").value == pytest.approx(1e6 / 7)
    assert one(records, RATE, "gender: men", "web").value == pytest.approx(1e6 / 3)
    never = one(records, RATE, "religion: Hindus")
    assert (never.value, never.low, never.high) == (0, 0, pytest.approx(3e6 / 10))


def test_shares_of_rare_groups_are_not_told() -> None:
    records = examined([document("she is a kind doctor")] * 4 + [document("no one is")] * 4)
    assert not [record for record in records if record.metric != RATE and record.metric != WOMEN]


@pytest.mark.parametrize("leaning", [0.5, 0.05])
def test_a_leaning_that_was_planted_is_found_and_none_where_there_is_none(leaning: float) -> None:
    documents = [document(f"{'She' if n < 400 * leaning else 'He'} is a doctor.") for n in range(400)]
    documents += [document("She saw him.")] * 400
    found = one(examined(documents), WOMEN, "doctor")
    everywhere = one(examined(documents), WOMEN, "anywhere")
    assert found.low is not None and found.high is not None
    assert found.low <= leaning <= found.high
    assert (found.high < everywhere.value) is (leaning < 0.4)


def test_the_intervals_cover_though_mentions_come_in_heaps() -> None:
    """300 corpora whose documents name women never or five times: 95 % intervals hold the truth about as often."""
    generator, covered, truth = np.random.default_rng(7), 0, 1e6 * 0.3 * 5 / 20
    heap, none = "she " * 5 + "word " * 15, "word " * 20
    for _ in range(300):
        documents = [document(heap if generator.random() < 0.3 else none) for _ in range(60)]
        rate = one(examined(documents), RATE, "gender: women")
        assert rate.low is not None and rate.high is not None
        covered += rate.low <= truth <= rate.high
    assert 0.90 <= covered / 300 <= 0.985


def test_the_order_of_documents_changes_values_nowhere() -> None:
    documents = [document(f"she met {n} kind sailors and him", f"d{n % 3}") for n in range(40)]
    forwards, backwards = examined(documents), examined(documents[::-1])
    assert [(r.metric, r.condition, r.domain) for r in forwards] == [
        (r.metric, r.condition, r.domain) for r in backwards
    ]
    assert [r.value for r in forwards] == pytest.approx([r.value for r in backwards])


def test_no_words_give_no_numbers() -> None:
    assert examined([]) == [] and examined([document("")]) == []


def test_a_wrong_group_is_refused() -> None:
    with pytest.raises(ValidationError, match="stands for"):
        RepresentationConfig(extra_groups={"mine": ("she",)})
