"""Bits per byte is exact: uniform and bigram models by hand, every token once whatever the windows."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.scoring import _windows, choose_documents, evaluate_documents
from models.shards import TokenShard
from models.transformer import LanguageModel
from tests.models.tiny_training import TINY, VOCABULARY, write_shards, write_split


class BigramTrunk(nn.Module):
    """A trunk whose hidden state is the one-hot of its input: the head's columns are a bigram table."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding.from_pretrained(logits.T.contiguous())  # [next, previous]

    def forward(self, ids: Tensor, *, causal: bool) -> Tensor:
        assert causal
        return nn.functional.one_hot(ids, self.embed_tokens.weight.shape[1]).float()


def bigram_model(logits: Tensor) -> LanguageModel:
    model = LanguageModel(TINY)
    model.model = BigramTrunk(logits)  # type: ignore[assignment]
    return model


@pytest.fixture
def shard(tmp_path: Path) -> TokenShard:
    return TokenShard(write_shards(tmp_path), "train")


@pytest.mark.parametrize(("context", "stride"), [(16, None), (16, 8), (5, 1)])
def test_a_uniform_model_needs_log2_of_the_vocabulary(
    shard: TokenShard, context: int, stride: int | None
) -> None:
    model = bigram_model(torch.zeros(VOCABULARY, VOCABULARY))
    scores = evaluate_documents(model, shard, context_length=context, stride=stride)
    tokens = shard.documents.ends - shard.documents.starts - 1
    assert scores.tokens.tolist() == tokens.tolist()
    assert scores.nats == pytest.approx(tokens * math.log(VOCABULARY), rel=1e-6)
    assert scores.bits_per_byte == pytest.approx(
        math.log2(VOCABULARY) * tokens.sum() / shard.documents.bytes.sum(), rel=1e-6
    )
    assert scores.nats_per_token == pytest.approx(math.log(VOCABULARY), rel=1e-6)


@pytest.mark.parametrize(("context", "stride"), [(16, None), (16, 3), (2, None), (16, 16)])
def test_a_bigram_model_scores_as_computed_by_hand(
    shard: TokenShard, context: int, stride: int | None
) -> None:
    """A bigram needs one token of context, so that windows must not change its score."""
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(VOCABULARY, VOCABULARY))).float()
    table = logits.double().log_softmax(-1)
    scores = evaluate_documents(bigram_model(logits), shard, context_length=context, stride=stride)
    for row, (start, end) in enumerate(zip(shard.documents.starts, shard.documents.ends, strict=True)):
        ids = shard.tokens[start:end].astype(int).tolist()
        assert ids[0] == 0
        by_hand = -sum(float(table[one, two]) for one, two in pairwise(ids))
        assert float(scores.nats[row]) == pytest.approx(by_hand, rel=1e-5)


@settings(max_examples=200)
@given(length=st.integers(1, 60), context=st.integers(1, 20), data=st.data())
def test_windows_score_every_token_once_with_enough_context(
    length: int, context: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, context))
    seen: list[int] = []
    for window in _windows(0, 100, 100 + length, context, stride):
        assert 1 <= window.scored <= window.inputs <= context
        last = window.start + window.inputs
        new = range(last - window.scored + 1, last + 1)
        assert all(target - window.start >= min(target - 100, context - stride + 1) for target in new)
        seen += new
    assert seen == list(range(101, 100 + length))


def test_a_short_document_scores_as_one_forward_pass(shard: TokenShard) -> None:
    model = LanguageModel(TINY, seed=3)
    lengths = shard.documents.ends - shard.documents.starts
    short = [row for row in range(len(lengths)) if lengths[row] <= 16]
    scores = evaluate_documents(model, shard, context_length=16, documents=short)
    for place, row in enumerate(short):
        ids = torch.from_numpy(
            shard.tokens[shard.documents.starts[row] : shard.documents.ends[row]].astype(np.int64)
        )
        with torch.no_grad():
            table = model(ids[None, :-1])[0].log_softmax(-1)
        assert float(scores.nats[place]) == pytest.approx(
            -float(table.gather(1, ids[1:, None]).sum()), rel=1e-5
        )
    assert scores.ids == tuple(f"train-{row}" for row in short)


def test_bf16_is_close_and_fp32_is_the_default(shard: TokenShard) -> None:
    model = LanguageModel(TINY, seed=3)
    exact = evaluate_documents(model, shard, context_length=16)
    rough = evaluate_documents(model, shard, context_length=16, precision=torch.bfloat16)
    assert rough.bits_per_byte == pytest.approx(exact.bits_per_byte, rel=1e-2)
    assert rough.bits_per_byte != exact.bits_per_byte


def test_an_empty_document_counts_nothing(tmp_path: Path) -> None:
    write_split(tmp_path, "test", [[], [5, 6]])
    shard = TokenShard(tmp_path, "test")
    scores = evaluate_documents(LanguageModel(TINY), shard, context_length=16)
    assert scores.tokens.tolist() == [0, 2]
    assert scores.nats[0] == 0.0
    assert choose_documents(shard, 1) == [1]
    assert math.isnan(
        evaluate_documents(LanguageModel(TINY), shard, context_length=16, documents=[]).bits_per_byte
    )


def test_the_sample_is_fixed_whole_and_within_the_budget(shard: TokenShard) -> None:
    lengths = shard.documents.ends - shard.documents.starts
    chosen = choose_documents(shard, 200)
    assert chosen == choose_documents(shard, 200) == sorted(set(chosen))
    assert 200 - lengths.min() < lengths[chosen].sum() <= 200
    assert choose_documents(shard, 1) == [int(np.argmin(lengths))]


def test_the_model_keeps_its_mode(shard: TokenShard) -> None:
    model = LanguageModel(TINY).train()
    evaluate_documents(model, shard, context_length=16, documents=[0])
    assert model.training


@pytest.mark.parametrize(("context", "stride"), [(16, 17), (16, 0), (64, None)])
def test_impossible_windows_are_refused(shard: TokenShard, context: int, stride: int | None) -> None:
    with pytest.raises(ValueError, match=r"stride|context_length"):
        evaluate_documents(LanguageModel(TINY), shard, context_length=context, stride=stride)
