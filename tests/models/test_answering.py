"""Windows, offsets and the choice of a span, against what can be checked by hand or by brute force."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from models.answering import (
    DOC_STRIDE,
    MAX_ANSWER_TOKENS,
    NO_ANSWER_THRESHOLD,
    TEMPERATURE,
    answer,
    decide,
    encode_texts,
    read,
    target,
    tokens_of_span,
    windows,
)
from models.best_span import Found
from models.config import ModelConfig
from models.head_export import HeadConfig
from models.heads import QUESTION_ANSWERING, SpanExtractor
from models.place_prior import place_log_odds
from models.transformer import LanguageModel

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|mask|>", "<|sep|>"]
SETTINGS = {DOC_STRIDE: 7.0, MAX_ANSWER_TOKENS: 6.0, NO_ANSWER_THRESHOLD: 1e9, TEMPERATURE: 0.7}
CONFIG = HeadConfig(task=QUESTION_ANSWERING, max_tokens=24, settings=SETTINGS)
TEXTS = st.text(max_size=40) | st.text("ab é日😀\n", max_size=60)


def _tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["a quiet mill by the slow green river, a quiet child"] * 3, trainer)
    return made


TOKENIZER = _tokenizer()


def _head(seed: int = 0) -> SpanExtractor:
    shape = ModelConfig(
        vocab_size=TOKENIZER.get_vocab_size(),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=32,
    )
    head = SpanExtractor(LanguageModel(shape, seed=seed)).eval()
    head.score.weight.data.mul_(50)
    return head


@given(TEXTS, st.data())
def test_the_tokens_of_a_span_cover_its_characters_and_no_whole_token_more(
    text: str, data: st.DataObject
) -> None:
    offsets = encode_texts(TOKENIZER, [text])[0].offsets
    assert {place for start, end in offsets for place in range(start, end)} == set(range(len(text)))
    assert all(one[0] <= two[0] and one[1] <= two[1] for one, two in pairwise(offsets))
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    first, last = tokens_of_span(offsets, start, end)
    assert text[start:end] in text[offsets[first][0] : offsets[last][1]]
    assert offsets[first][0] <= start < offsets[first][1] and offsets[last][0] < end <= offsets[last][1]
    assert first == 0 or offsets[first - 1][1] <= start
    assert last == len(offsets) - 1 or offsets[last + 1][0] >= end


def test_an_empty_span_has_no_tokens() -> None:
    with pytest.raises(ValueError, match="no token"):
        tokens_of_span(encode_texts(TOKENIZER, ["river"])[0].offsets, 2, 2)


def test_what_looks_like_a_special_token_in_a_text_is_text() -> None:
    assert not set(encode_texts(TOKENIZER, ["a <|sep|> b"])[0].ids) & set(range(4))
    assert not TOKENIZER.encode_special_tokens


@given(TEXTS, TEXTS, st.integers(4, 30), st.integers(1, 40))
def test_windows_hold_every_token_at_its_place(question: str, context: str, most: int, stride: int) -> None:
    asked, told = encode_texts(TOKENIZER, [question, context])
    seen: set[int] = set()
    for window in windows(TOKENIZER, asked, told, max_tokens=most, doc_stride=stride):
        assert len(window.input_ids) <= most
        assert window.input_ids[0] == 0 and window.input_ids[window.prefix - 1] == 3
        last = window.first + window.tokens
        assert window.input_ids[window.prefix :] == told.ids[window.first : last]
        seen |= set(range(window.first, last))
    assert seen == set(range(len(told.ids)))


def test_a_target_points_at_the_answer_or_at_the_first_token_and_is_missing_where_the_answer_is_cut() -> None:
    context = "a quiet mill by the slow green river, a quiet child"
    asked, told = encode_texts(TOKENIZER, ["who?", context])
    start = context.index("green")
    span = tokens_of_span(told.offsets, start, start + len("green river"))
    found = set()
    for window in windows(TOKENIZER, asked, told, max_tokens=12, doc_stride=1):
        place = target(window, span)
        if place is None:
            found.add("cut")
        elif place == (0, 0):
            found.add("elsewhere")
        else:
            found.add("here")
            held = window.input_ids[place[0] : place[1] + 1]
            assert TOKENIZER.decode(list(held)).strip() == "green river"
        assert target(window, None) == (0, 0)
    assert found == {"cut", "elsewhere", "here"}


def test_the_prior_moves_the_first_tokens_odds_by_their_place_in_the_context() -> None:
    head, (asked, told) = _head(), encode_texts(TOKENIZER, ["who?", "a quiet mill by the slow green river"])
    plain, moved = (
        read(head, TOKENIZER, [asked], [told], max_tokens=16, doc_stride=5, place_prior=prior)[0]
        for prior in ((), (4.0, 0.0, -4.0))
    )
    np.testing.assert_allclose(moved.first - plain.first, place_log_odds((4.0, 0.0, -4.0), len(told.ids)))
    np.testing.assert_array_equal(moved.last, plain.last)
    config = CONFIG.model_copy(update={"place_prior": (1e6, -1e6)})
    (found,) = answer(head, TOKENIZER, ["who?"], ["a quiet mill"], config=config)
    assert found.start == 0


def test_silence_wins_above_the_threshold_and_space_is_no_part_of_an_answer() -> None:
    offsets, found = ((0, 3), (3, 7)), Found(1, 1, 0.2, 0.5)
    assert decide("the mill", offsets, found, 2.6)[:2] == ("mil", 4)
    assert decide("the mill", offsets, found, 2.4)[:2] == ("", -1)
    assert decide("   ", ((0, 3),), Found(0, 0, 1.0, 0.0), 1e9)[:2] == ("", -1)


def test_answers_are_pieces_of_their_context_whatever_the_batch() -> None:
    contexts = ["", "a quiet mill", "日本 é 😀 a quiet child by the slow green river " * 3, " \n "] * 2
    questions = ["who?", "", "where is the mill by the river?" * 9, "?"] * 2
    head = _head()
    found = answer(head, TOKENIZER, questions, contexts, config=CONFIG)
    for each, context in zip(found, contexts, strict=True):
        assert (
            each.text == context[each.start : each.start + len(each.text)] if each.text else each.start == -1
        )
    assert [each.text for each in found[:4]] == [each.text for each in found[4:]]
    assert found[0].text == "" and found[1].text and found[2].text
    alone = [
        answer(head, TOKENIZER, [q], [c], config=CONFIG)[0] for q, c in zip(questions, contexts, strict=True)
    ]
    small = answer(head, TOKENIZER, questions, contexts, config=CONFIG, batch_size=1)
    for one, two, three in zip(found, alone, small, strict=True):
        assert one.score == pytest.approx(two.score, abs=0.02) == pytest.approx(three.score, abs=0.02)


def test_reading_prefers_the_tokens_that_the_head_prefers() -> None:
    """A head that scores one token id high finds it in every context."""
    head = _head()
    wanted = encode_texts(TOKENIZER, ["é"])[0].ids[0]
    asked, *told = encode_texts(TOKENIZER, ["?", "a quiet mill é by the river", "é a quiet mill" * 4])

    def score(ids, mask):  # type: ignore[no-untyped-def]
        import torch

        return torch.stack([ids == wanted] * 2, dim=-1).float() * 9

    head.forward = score  # type: ignore[method-assign]
    readings = read(head, TOKENIZER, [asked] * 2, told, max_tokens=16, doc_stride=5)
    for reading, context in zip(readings, told, strict=True):
        assert np.array_equal(reading.first, 9.0 * (np.array(context.ids) == wanted))
        assert np.array_equal(reading.last, reading.first)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="2 questions"):
        answer(_head(), TOKENIZER, ["a", "b"], ["c"], config=CONFIG)
    bare = CONFIG.model_copy(update={"settings": {}})
    with pytest.raises(ValueError, match=TEMPERATURE):
        answer(_head(), TOKENIZER, ["a"], ["c"], config=bare)
