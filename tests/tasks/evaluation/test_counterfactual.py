"""Identity swaps on classifiers whose sensitivity is known: none, to any word alike, or to what we planted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from models import classification
from tasks.evaluation.counterfactual import examine_swaps
from tasks.evaluation.findings import Findings
from tasks.evaluation.identity_templates import IDENTITIES, NEUTRAL_WORDS, TEMPLATES
from tasks.evaluation.records import ALL_DOMAINS, Record


class Head:
    labels = ("negative", "neutral", "positive")


def noise(word: str, seed: int = 0) -> float:
    """A number between 0 and 1 that belongs to a word."""
    return int.from_bytes(hashlib.sha256(f"{seed}{word}".encode()).digest()[:4], "big") / 2**32


def examine(
    monkeypatch: pytest.MonkeyPatch, positive: Callable[[str], float], head: Any = None, **options: Any
) -> Findings:
    """Swaps on a classifier that gives a text this probability of the last label."""
    head = head or Head()

    def classify(_: Any, __: Any, texts: Sequence[str], *, max_tokens: int) -> np.ndarray:
        last = np.array([positive(text) for text in texts])
        rest = np.repeat((1 - last)[:, None] / (len(head.labels) - 1), len(head.labels) - 1, axis=1)
        return np.column_stack([rest, last])

    monkeypatch.setattr(classification, "classify", classify)
    plain = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return examine_swaps(head, plain, **{"max_tokens": 64, "samples": 400, "seed": 0, **options})


def by_words(text: str, seed: int = 0) -> float:
    return 0.4 + 0.2 * sum(noise(word, seed) for word in text.split()) / len(text.split())


def value(findings: Findings, metric: str, domain: str = ALL_DOMAINS, model: str = "model") -> Record:
    (record,) = [r for r in findings.records if (r.metric, r.domain, r.model) == (metric, domain, model)]
    return record


def test_a_classifier_blind_to_the_words_has_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = examine(monkeypatch, lambda text: 0.7)
    assert {r.value for r in findings.records if not r.metric.endswith("_q")} == {0.0}
    assert {r.value for r in findings.records if r.metric.endswith("_q")} == {1.0}


def test_sensitivity_to_any_word_is_not_taken_for_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = [
        min(
            r.value
            for r in examine(monkeypatch, lambda text, s=s: by_words(text, s)).records
            if r.metric == "ctf_gap_q"
        )
        for s in range(20)
    ]
    assert np.mean(np.array(smallest) < 0.05) <= 0.2
    findings = examine(monkeypatch, by_words)
    assert value(findings, "ctf_gap").value > 0
    excess = value(findings, "ctf_gap_difference")
    assert excess.low is not None and excess.low < 0 < excess.high


def test_planted_sensitivity_is_found_at_its_attribute_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def biased(text: str) -> float:
        words = text.split()
        return by_words(text) + 0.3 * ("Muslim" in words or "Jewish" in words)

    findings = examine(monkeypatch, biased)
    assert value(findings, "ctf_gap_q", "religion").value < 0.05
    assert all(value(findings, "ctf_gap_q", name).value > 0.05 for name in IDENTITIES if name != "religion")
    gap, null = (value(findings, "ctf_gap", "religion", model) for model in ("model", "neutral_words"))
    assert gap.value == pytest.approx(0.3 * 8 / 15, abs=0.02)  # 8 of the 15 pairs have one of the two words
    assert null.value < 0.05
    shown = findings.shown["identity_swaps"]
    assert len(shown["worst"]) == 10
    assert all(set(swap["words"]) & {"Muslim", "Jewish"} for swap in shown["worst"])
    assert [swap["gap"] for swap in shown["worst"]] == sorted(
        (s["gap"] for s in shown["worst"]), reverse=True
    )
    assert shown["means"]["religion"]["Muslim"] > shown["means"]["religion"]["Hindu"] + 0.2


def test_a_flip_is_a_swap_that_changes_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = examine(monkeypatch, lambda text: 0.9 if " female " in text else 0.1)
    assert value(findings, "flip_rate", "gender").value == pytest.approx(3 / 6)
    assert value(findings, "flip_rate", "age").value == 0.0
    assert value(findings, "flip_rate").value == pytest.approx(0.5 / len(IDENTITIES))


def test_without_a_positive_label_every_label_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        labels = ("toxic", "fine")

    findings = examine(monkeypatch, by_words, Other())
    assert {r.condition for r in findings.records if r.metric == "ctf_gap"} == {"toxic", "fine"}
    keys = [(item.metric, item.model, item.id) for item in findings.items]
    assert len(keys) == len(set(keys)) == 2 * len(TEMPLATES) * len(IDENTITIES) * 3


def test_reruns_agree_and_items_add_up_to_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = examine(monkeypatch, by_words), examine(monkeypatch, by_words)
    assert (first.records, first.items, first.shown) == (second.records, second.items, second.shown)
    own = [
        i.value
        for i in first.items
        if i.metric == "ctf_gap" and i.model == "model" and i.id.startswith("age/")
    ]
    assert np.mean(own) == pytest.approx(value(first, "ctf_gap", "age").value)
    assert {item.cluster for item in first.items} == {f"sentence-{n}" for n in range(len(TEMPLATES))}


def test_too_few_neutral_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="2 neutral words are too few"):
        examine(monkeypatch, by_words, neutral=("Monday", "Tuesday"))


def test_every_word_fits_every_sentence_once() -> None:
    words = [word for group in IDENTITIES.values() for word in group]
    assert all(template.text.count("{}") == 1 for template in TEMPLATES)
    assert {template.carrier for template in TEMPLATES} == {"neutral", "positive", "negative"}
    assert not set(words) & set(NEUTRAL_WORDS)
    assert len(set(words)) == len(words) and len(set(NEUTRAL_WORDS)) == len(NEUTRAL_WORDS)
    assert all(" a {}" not in t.text and " an {}" not in t.text for t in TEMPLATES), (
        "no article to agree with"
    )
