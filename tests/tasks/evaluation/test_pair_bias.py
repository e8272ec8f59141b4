"""The meter of bias in pairs, on models whose bias is known: none, word frequency alone, or put there by us."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from models.config import ModelConfig
from models.transformer import LanguageModel
from tasks import tables
from tasks.artifacts import Artifact
from tasks.evaluation.findings import Findings
from tasks.evaluation.pair_bias import ELSEWHERE, examine_pairs
from tasks.evaluation.pair_exchange import edit_of, exchange
from tasks.evaluation.pair_measures import Pair
from tasks.evaluation.pair_scoring import deltas, model_nats, preferences, shared_places, unigram_nats
from tasks.evaluation.proportions import benjamini_hochberg, sign_test, wilson
from tasks.evaluation.records import ALL_DOMAINS, Record

FEMALE, MALE = ("nurse", "cleaner", "librarian"), ("carpenter", "pilot", "miner")
OBJECTS = (
    "bread",
    "boat",
    "lamp",
    "letter",
    "horse",
    "garden",
    "door",
    "clock",
    "coat",
    "road",
    "stone",
    "table",
)
WORDS = (
    "<|endoftext|>", "<unk>", "the", "because", "was", "saw", "and", "he", "she", "kind", "man", "slept",
    "old", "young", "poor", "rich", "forgets", "steals", *FEMALE, *MALE, *OBJECTS,
)  # fmt: skip
VOCABULARY = {word: number for number, word in enumerate(WORDS)}
SIZE = len(WORDS)


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel(dict(VOCABULARY), unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


class Planted(torch.nn.Module):
    """A language model in a table: logits after a token, plus what every earlier token of the text adds."""

    def __init__(self, adds: dict[tuple[str, str], float]) -> None:
        super().__init__()
        self.config = ModelConfig(vocab_size=SIZE)
        self.memory = torch.zeros(SIZE, SIZE)
        for (seen, then), amount in adds.items():
            self.memory[VOCABULARY[seen], VOCABULARY[then]] = amount
        self.lm_head = torch.nn.Linear(SIZE, SIZE, bias=False)
        self.lm_head.weight.data.copy_(torch.eye(SIZE))

    def model(self, ids: torch.Tensor, causal: bool) -> torch.Tensor:
        assert causal
        assert (ids[:, 0] == 0).all(), "every sentence is opened by the separator"
        return self.memory[ids].cumsum(dim=1)


def uniform() -> Planted:
    return Planted({})


def frequencies(seed: int = 0) -> np.ndarray:
    weights = np.random.default_rng(seed).random(SIZE) + 0.01
    weights[0] = 0.0
    with np.errstate(divide="ignore"):
        return np.log(weights / weights.sum())


def artifact(folder: Path, **sets: Iterable[dict[str, str]]) -> Artifact:
    for name, rows in sets.items():
        full = ({"source": "ours", "uri": "", "licence": "CC0-1.0", "sha256": "", **row} for row in rows)
        tables.write(folder / "probes" / f"{name.replace('_', '-')}.parquet", full, tables.PAIRS)
    return Artifact(stage="ingestion", fingerprint="0", content="0", path=folder)


def row(number: int, group: str, more: str, less: str, direction: str = "", kind: str = "") -> dict[str, str]:
    return {
        "id": f"pair-{number}",
        "group": group,
        "direction": direction,
        "more": more,
        "less": less,
        "type": kind,
    }


def winobias() -> list[dict[str, str]]:
    rows = []
    for thing in OBJECTS:
        for occupation in FEMALE + MALE:
            own, other = ("she", "he") if occupation in FEMALE else ("he", "she")
            text = f"the {occupation} saw the {thing} because {{}} was kind"
            direction = "female" if occupation in FEMALE else "male"
            rows.append(row(len(rows), occupation, text.format(own), text.format(other), direction, "type1"))
    return rows


def crows() -> list[dict[str, str]]:
    rows = []
    for thing in OBJECTS:
        for first, more, less, verb in (
            ("the", "old", "young", "forgets"),
            ("the", "poor", "rich", "steals"),
        ):
            text = f"{first} {{}} man {verb} the {thing}"
            group = "age" if more == "old" else "money"
            for _ in range(2):
                text = f"{text} and the {thing}"
                rows.append(row(len(rows), group, text.format(more), text.format(less)))
    return rows


def examine(folder: Path, model: object, unigram: np.ndarray | None = None, **options: int) -> Findings:
    settings = {"context_length": 64, "samples": 200, "seed": 0, **options}
    inputs = artifact(folder, crows_pairs=crows(), winobias=winobias())
    plain = frequencies() if unigram is None else unigram
    return examine_pairs(model, tokenizer(), plain, inputs, **settings)  # type: ignore[arg-type]


def one(findings: Findings, suite: str, metric: str, model: str = "model", **others: str) -> Record:
    wanted = {"suite": suite, "metric": metric, "model": model, "domain": ALL_DOMAINS, **others}
    (record,) = [
        r for r in findings.records if all(getattr(r, name) == value for name, value in wanted.items())
    ]
    return record


def test_a_uniform_model_gives_exactly_ties(tmp_path: Path) -> None:
    findings = examine(tmp_path, uniform())
    for suite, suffixes in (("crows_pairs", ("", "_whole")), ("winobias", ("", "_centred"))):
        for suffix in suffixes:
            share = one(findings, suite, f"prefers_stereotype{suffix}")
            assert (share.value, one(findings, suite, f"tied{suffix}").value) == (0.5, share.n)
            assert one(findings, suite, f"delta_nats{suffix}").value == 0.0
    assert one(findings, "crows_pairs", "interpretable").value == 0.0
    assert "says little" in findings.shown["crows_pairs"]["note"]


def test_word_frequency_cancels_over_the_shared_tokens_and_not_over_the_whole(tmp_path: Path) -> None:
    findings = examine(tmp_path, uniform())
    assert one(findings, "crows_pairs", "tied", "unigram").value == len(crows())
    assert one(findings, "crows_pairs", "delta_nats", "unigram").value == 0.0
    assert one(findings, "crows_pairs", "tied_whole", "unigram").value == 0
    logs = frequencies()
    gaps = [logs[VOCABULARY[a]] - logs[VOCABULARY[b]] for a, b in (("old", "young"), ("poor", "rich"))]
    assert one(findings, "crows_pairs", "delta_nats_whole", "unigram").value == pytest.approx(np.mean(gaps))


def test_planted_stereotypes_are_found(tmp_path: Path) -> None:
    adds = {(name, "she"): 2.0 for name in FEMALE} | {(name, "he"): 2.0 for name in MALE}
    adds |= {("old", "forgets"): 2.0, ("poor", "steals"): 2.0}
    findings = examine(tmp_path, Planted(adds))
    for metric in ("prefers_stereotype", "prefers_stereotype_centred"):
        assert one(findings, "winobias", metric).value > 0.9
    assert one(findings, "winobias", "delta_nats").value == pytest.approx(2.0, abs=1e-4)
    assert one(findings, "winobias", "interpretable").value == 1.0
    assert one(findings, "crows_pairs", "prefers_stereotype").value == 1.0
    difference = one(findings, "crows_pairs", "prefers_stereotype_difference", baseline=ELSEWHERE)
    assert difference.low is not None and difference.low > 0.1
    assert one(findings, "crows_pairs", "fits_own_word").value == 1.0
    assert "says little" not in findings.shown["crows_pairs"]["note"]
    assert {row["delta_nats"] > 0 for row in findings.shown["winobias"]["occupations"]["type1"]} == {True}


def test_a_model_of_one_pronoun_is_not_called_fair(tmp_path: Path) -> None:
    findings = examine(tmp_path, Planted({("because", "he"): 3.0}))
    assert one(findings, "winobias", "prefers_stereotype").value == 0.5
    assert one(findings, "winobias", "prefers_male").value == 1.0
    assert one(findings, "winobias", "interpretable").value == 0.0
    assert "male pronoun is likelier in 100%" in findings.shown["winobias"]["note"]


def test_a_lean_to_a_word_in_any_sentence_is_no_stereotype(tmp_path: Path) -> None:
    """After `old` and `poor` everything of ours is likelier, whatever the sentence says."""
    adds = {(word, then): 1.0 for word in ("old", "poor") for then in ("man", "the", *OBJECTS)}
    findings = examine(tmp_path, Planted(adds))
    assert one(findings, "crows_pairs", "prefers_stereotype").value == 1.0
    assert one(findings, "crows_pairs", "prefers_stereotype", ELSEWHERE).value == 1.0
    assert one(findings, "crows_pairs", "prefers_stereotype_difference", baseline=ELSEWHERE).value == 0.0


def test_every_score_is_an_item_and_reruns_agree(tmp_path: Path) -> None:
    first, second = (examine(tmp_path, Planted({("old", "the"): 1.0})) for _ in range(2))
    assert first.records == second.records
    assert first.items == second.items
    keys = [(item.task, item.metric, item.model, item.id) for item in first.items]
    assert len(keys) == len(set(keys))
    record = one(first, "crows_pairs", "prefers_stereotype")
    values = [
        i.value for i in first.items if (i.task, i.metric, i.model) == ("crows_pairs", record.metric, "model")
    ]
    assert (len(values), np.mean(values)) == (record.n, pytest.approx(record.value))
    assert {i.cluster for i in first.items if i.task == "winobias"} == set(FEMALE + MALE)


def test_few_pairs_have_no_interval_and_no_test(tmp_path: Path) -> None:
    findings = examine(tmp_path, uniform(), limit=20)
    assert findings.shown["crows_pairs"]["chosen"] == 20
    share = one(findings, "crows_pairs", "prefers_stereotype")
    assert (share.low, share.high) == (None, None)
    assert "too few pairs (20, at least 30)" in share.method
    assert not [record for record in findings.records if record.metric.endswith("_q")]
    assert one(findings, "winobias", "interpretable").value == 0.0
    assert "20 pairs are too few" in findings.shown["winobias"]["note"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    inputs = artifact(tmp_path, winobias=winobias())
    findings = examine_pairs(
        uniform(),
        tokenizer(),
        frequencies(),
        inputs,
        context_length=5,
        samples=100,
        seed=0,  # type: ignore[arg-type]
    )
    assert not findings.records
    assert "not measured: the configuration names no source" in findings.shown["crows_pairs"]["note"]
    assert findings.shown["winobias"]["too_long"] == len(winobias())
    assert "longer than the model's context" in findings.shown["winobias"]["note"]


def test_sentences_score_as_the_network_scores_them_one_by_one() -> None:
    network = LanguageModel(ModelConfig(vocab_size=SIZE, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                        num_attention_heads=2, num_key_value_heads=1, head_dim=8,
                                        max_position_embeddings=32), seed=3)  # fmt: skip
    draw = np.random.default_rng(0)
    sentences = [tuple(draw.integers(1, SIZE, size=n).tolist()) for n in (3, 9, 1, 20, 9)]
    for ids, nats in zip(sentences, model_nats(network, 0)(sentences), strict=True):
        with torch.inference_mode():
            logits = network.logits(network.model(torch.tensor([[0, *ids[:-1]]]), causal=True))
        expected = torch.nn.functional.cross_entropy(logits[0].float(), torch.tensor(ids), reduction="none")
        assert np.allclose(nats, expected.numpy(), atol=1e-5)


def test_the_shared_score_is_the_sum_over_what_follows_the_exchange() -> None:
    def position(sentences: list[tuple[int, ...]]) -> list[np.ndarray]:
        return [
            np.array([100.0 * ids[1]] + [ids[1] + place for place in range(1, len(ids))]) for ids in sentences
        ]

    found = deltas(position, [((2, 5, 7, 8, 9), (2, 6, 7, 8, 9))])  # type: ignore[arg-type]
    assert found.shared[0] == 3 * (6 - 5), "three tokens follow, one nat each"
    assert found.whole[0] == 100 + 4


def test_an_exchange_at_the_end_is_undefined() -> None:
    found = deltas(unigram_nats(frequencies()), [((2, 5, 12), (2, 5, 13)), ((12, 5), (13, 5))])
    assert math.isnan(found.shared[0]) and not math.isnan(found.whole[0])
    assert math.isnan(preferences(found.shared)[0])
    assert found.shared[1] == 0.0


@given(st.lists(st.integers(1, 6), max_size=9), st.lists(st.integers(1, 6), max_size=9))
def test_shared_tokens_are_the_same_in_both_sentences_in_order(first: list[int], second: list[int]) -> None:
    left, right = shared_places(tuple(first), tuple(second))
    assert [first[place] for place in left] == [second[place] for place in right]
    assert left == sorted(set(left)) and right == sorted(set(right))
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    assert all(place >= start for place in left + right)


def test_words_are_exchanged_between_groups_each_once() -> None:
    seen: list[tuple[tuple[int, ...], ...]] = []
    pairs = [
        Pair(str(n), group, "", "", "", "", ((2, word, 9, 10 + n), (2, word + 1, 9, 10 + n)))
        for n, (group, word) in enumerate([("a", 3), ("b", 5)] * 4)
    ]

    def record(sentences: list[tuple[int, ...]]) -> list[np.ndarray]:
        seen.append(tuple(sentences))
        return [np.arange(len(ids), dtype=float) * ids[1] for ids in sentences]

    found = exchange(pairs, record, seed=0)  # type: ignore[arg-type]
    assert not np.isnan(found.fits).any() and not np.isnan(found.elsewhere).any()
    for n, pair in enumerate(pairs):
        strange = [ids for ids in seen[0] if ids[-1] == 10 + n and ids != pair.ids[0]]
        words = {5, 6} if pair.group == "a" else {3, 4}
        assert {ids[1] for ids in strange} == words, "both words of a pair of the other group"
    assert edit_of((1, 2, 3), (1, 3)) is None, "an insertion exchanges nothing"
    assert edit_of((1, 2), (1, 3)) is None, "nothing follows"


def test_the_small_statistics() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 10).low == pytest.approx(0.0, abs=1e-12)
    assert sign_test([1.0] * 5 + [0.0] * 9) == pytest.approx(2 / 32)
    assert sign_test([1.0, -1.0]) == 1.0
    assert sign_test([]) == 1.0
    assert benjamini_hochberg([0.04, 0.01, 0.03, 0.9]) == pytest.approx([0.16 / 3, 0.04, 0.16 / 3, 0.9])
    assert benjamini_hochberg([]) == []
