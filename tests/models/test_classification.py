"""Classification: probabilities in order, no effect of batches, special tokens in texts harmless, F1 as known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

from models.classification import LabelCounts, classify, encode_text, label_counts, macro_f1, opening_token
from models.config import ModelConfig
from models.heads import Classifier
from models.transformer import LanguageModel
from tasks.vocabulary import SPECIAL_TOKENS, train_tokenizer

TEXTS = [
    "a quiet mill",
    "",
    "the old river ran past a quiet mill and every child knew it",
    "x",
    "\u00e9t\u00e9 \U0001f600",
]
SHAPE = ModelConfig(
    vocab_size=300,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    max_position_embeddings=32,
    initializer_range=0.5,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 3, vocab_size=280, min_frequency=1)


@pytest.fixture(scope="module")
def head() -> Classifier:
    head = Classifier(LanguageModel(SHAPE, seed=1), ("a", "b", "c"), seed=2).eval()
    head.score.weight.data *= 20.0
    return head


def test_each_text_has_probabilities_in_the_order_given(head: Classifier, tokenizer: Tokenizer) -> None:
    together = classify(head, tokenizer, TEXTS, max_tokens=32, batch_size=2)
    assert together.shape == (5, 3)
    assert together.dtype == np.float64
    np.testing.assert_allclose(together.sum(1), 1.0, atol=1e-12)
    alone = np.concatenate([classify(head, tokenizer, [text], max_tokens=32) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert (
        len(np.unique(together.round(4), axis=0)) == 5
    )  # the texts differ, and so does what is said of them


def test_nothing_to_classify_is_fine(head: Classifier, tokenizer: Tokenizer) -> None:
    assert classify(head, tokenizer, [], max_tokens=32).shape == (0, 3)


def test_only_the_first_tokens_are_read(head: Classifier, tokenizer: Tokenizer) -> None:
    long = [TEXTS[2] + " by name" * 200, TEXTS[2] + " ?" * 300]
    cut = classify(head, tokenizer, long, max_tokens=8)
    np.testing.assert_array_equal(cut[0], cut[1])
    assert np.abs(classify(head, tokenizer, long, max_tokens=32) - cut).max() > 1e-3
    beyond = classify(head, tokenizer, long, max_tokens=10_000)  # the model's context bounds it
    np.testing.assert_array_equal(beyond, classify(head, tokenizer, long, max_tokens=32))


def test_a_text_cannot_become_a_special_token(tokenizer: Tokenizer) -> None:
    tokenizer.encode_special_tokens = False
    ids = encode_text(tokenizer, f"a{SPECIAL_TOKENS[0]}b", 32, 0)
    assert ids[0] == 0
    assert min(ids[1:]) >= len(SPECIAL_TOKENS)
    assert tokenizer.encode_special_tokens is False  # as it was found
    assert encode_text(tokenizer, "", 32, 7) == (7,)
    assert encode_text(tokenizer, TEXTS[2], 1, 7) == (7,)


def test_senseless_limits_are_refused(head: Classifier, tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        classify(head, tokenizer, TEXTS, max_tokens=8, batch_size=0)
    with pytest.raises(ValueError, match="max_tokens must be at least 1"):
        classify(head, tokenizer, TEXTS, max_tokens=0)


def test_every_text_begins_with_the_model_s_own_token() -> None:
    assert opening_token(SHAPE) == 0
    assert opening_token(SHAPE.model_copy(update={"bos_token_id": None, "eos_token_id": 5})) == 5
    assert opening_token(SHAPE.model_copy(update={"bos_token_id": None, "eos_token_id": None})) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, said = np.array(pairs).T
    expected = f1_score(gold, said, labels=np.unique(gold), average="macro", zero_division=0)
    assert float(macro_f1(label_counts(gold, said, 4))) == pytest.approx(expected)


def test_macro_f1_of_several_countings_at_once() -> None:
    counts = LabelCounts(np.array([[2, 2], [0, 0]]), np.array([[3, 1], [0, 0]]), np.array([[2, 1], [0, 0]]))
    np.testing.assert_allclose(macro_f1(counts), [(0.8 + 2 / 3) / 2, 0.0])
