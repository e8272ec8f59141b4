"""Translation: what goes into the network, what comes out, and that neighbours in a batch do not matter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from models.config import ModelConfig
from models.head_export import HeadConfig
from models.heads import Translator
from models.transformer import LanguageModel
from models.translation import (
    LENGTH_EXTRA,
    LENGTH_RATIO,
    TranslationEncoder,
    _batches,
    placeholders,
    room_for,
    translate,
)

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|mask|>", "<|sep|>"]
END, PAD, MASK, SEP = range(4)
CONTEXT = 96


def byte_tokenizer() -> Tokenizer:
    """One token for each byte, after the special ones."""
    vocabulary = {token: number for number, token in enumerate(SPECIAL)}
    vocabulary |= {c: 4 + n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


TOKENIZER = byte_tokenizer()
SHAPE = ModelConfig(
    vocab_size=260,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    max_position_embeddings=CONTEXT,
    pad_token_id=PAD,
)
CONFIG = HeadConfig(task="translation", max_tokens=CONTEXT, settings={LENGTH_RATIO: 1.5, LENGTH_EXTRA: 10})
TEXTS = [
    "Save",
    "Delete the file {name}?",
    "",
    "Go to <a href='{url}'>the page</a>",
    "%(count)d of %(total)d events",
    "Passwords must match",
    "{a} {b} {a}",
    "No",
]


def untrained(seed: int = 0) -> Translator:
    """Random weights, large enough that what is written depends on what was read."""
    model = LanguageModel(SHAPE, seed=seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(8.0)
    return Translator(model).eval()


def biased(head: Translator, monkeypatch: pytest.MonkeyPatch, tokens: list[int], by: float) -> Translator:
    """A head that likes some tokens more by a constant."""
    plain: Callable[[Tensor], Tensor] = head.model.logits

    def logits(hidden: Tensor) -> Tensor:
        scores = plain(hidden).clone()
        scores[..., tokens] += by
        return scores

    monkeypatch.setattr(head.model, "logits", logits)
    return head


def encoder() -> TranslationEncoder:
    return TranslationEncoder(TOKENIZER, SHAPE)


def test_an_example_is_source_separator_target_between_end_tokens() -> None:
    example = encoder().example("ab", "cde")
    plain = [TOKENIZER.token_to_id(c) for c in "abcde"]
    assert example.input_ids == (END, *plain[:2], SEP, *plain[2:], END)
    assert example.targets == (4,)


def test_a_placeholder_is_one_token_and_the_same_one_in_the_target() -> None:
    source, target = "Hi {name}, <b>{n}</b>", "<b>{n}</b> salut {name}"
    prompt, example = encoder().prompt(source), encoder().example(source, target)
    assert sorted(prompt.slots.values()) == sorted(placeholders(source))
    assert len(prompt.input_ids) == len("Hi , ") + 4 + 2
    written = example.input_ids[example.targets[0] : -1]
    assert len(written) == len(" salut ") + 4
    assert encoder().text(written, prompt.slots) == target


def test_more_placeholders_than_spare_tokens_are_spelled_out() -> None:
    source = "".join(f"{{p{number}}}" for number in range(20))
    prompt = encoder().prompt(source)
    assert len(prompt.slots) == 13
    assert encoder().text(prompt.input_ids[1:-1], prompt.slots) == source


@given(st.text(alphabet="aé {}%s()<>/日\n", max_size=30), st.text(alphabet="aé {}%s()<>/日", max_size=30))
def test_what_is_encoded_is_what_was_given(source: str, target: str) -> None:
    prompt, example = encoder().prompt(source), encoder().example(source, target)
    assert encoder().text(prompt.input_ids[1:-1], prompt.slots) == source.strip()
    assert encoder().text(example.input_ids[example.targets[0] : -1], prompt.slots) == target.strip()


def test_control_tokens_written_out_in_a_text_are_plain_text() -> None:
    assert set(encoder().prompt("<|sep|> <|endoftext|>").input_ids[1:-1]).isdisjoint(range(4))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%(name)s and %s", {"%(name)s": 1, "%s": 1}),
        ("100% sure, 5%, 50%d", {"%d": 1}),
        ("{0} {0} {name!r:>4} {{ x }}", {"{0}": 2, "{name!r:>4}": 1, "{{ x }}": 1}),
        ('<a href="x">y</a> 1 < 2 > 0', {'<a href="x">': 1, "</a>": 1}),
        ("%1 of %2$s, %.2f", {"%1": 1, "%2$s": 1, "%.2f": 1}),
        ("plain { text }", {}),
    ],
)
def test_placeholders(text: str, found: dict[str, int]) -> None:
    assert placeholders(text) == Counter(found)


@pytest.mark.parametrize("batch_size", [2, 3, 32])
def test_a_batch_gives_what_each_text_gives_alone(batch_size: int) -> None:
    head = untrained()
    alone = [translate(head, TOKENIZER, [text], config=CONFIG)[0] for text in TEXTS]
    assert len(set(alone)) > len(TEXTS) // 2  # the translations do depend on the sources
    assert translate(head, TOKENIZER, TEXTS, config=CONFIG, batch_size=batch_size) == alone
    turned = translate(head, TOKENIZER, TEXTS[::-1], config=CONFIG, batch_size=batch_size)
    assert turned == alone[::-1]


def test_decoding_is_greedy_as_without_a_cache() -> None:
    head, text = untrained(seed=3), "Passwords must match"
    prompt = encoder().prompt(text)
    allowed, written = encoder().choosable(), list[int]()
    for _ in range(room_for(prompt, SHAPE, CONFIG.settings)):
        with torch.inference_mode():
            scores = head.model(torch.tensor([[*prompt.input_ids, *written]]))[0, -1]
        token = int(scores.masked_fill(~allowed, -torch.inf).argmax())
        if token == END:
            break
        written.append(token)
    assert translate(head, TOKENIZER, [text], config=CONFIG) == [encoder().text(written, {})]


def test_control_tokens_and_spare_bytes_are_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Passwords must match"
    plain = translate(untrained(), TOKENIZER, [text], config=CONFIG)
    eager = biased(untrained(), monkeypatch, [PAD, MASK, SEP, *encoder().spare], 1e4)
    assert translate(eager, TOKENIZER, [text], config=CONFIG) == plain


def test_every_placeholder_is_written_as_often_as_it_stands_in_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for by in (-1e4, 0.0, 1e4):  # a network that never ends, one that may, one that ends at once
        head = biased(untrained(), monkeypatch, [END], by)
        for text, translation in zip(TEXTS, translate(head, TOKENIZER, TEXTS, config=CONFIG), strict=True):
            for placeholder, count in placeholders(text).items():
                assert translation.count(placeholder) == count


def test_the_length_is_bounded_by_that_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = biased(untrained(), monkeypatch, [END], -1e4)
    endless = biased(endless, monkeypatch, [TOKENIZER.token_to_id("x")], 1e4)
    short = CONFIG.model_copy(update={"settings": {LENGTH_RATIO: 2.0, LENGTH_EXTRA: 1.0}})
    assert translate(endless, TOKENIZER, ["abc", "a"], config=short) == ["x" * 7, "x" * 3]
    source = "a" * (CONTEXT - 7)
    assert translate(endless, TOKENIZER, [source], config=short) == ["x" * 5]


def test_a_source_that_fills_the_context_is_refused_by_its_place() -> None:
    with pytest.raises(ValueError, match="text 2 takes 97 tokens"):
        translate(untrained(), TOKENIZER, ["fine", "a" * (CONTEXT - 1)], config=CONFIG)
    with pytest.raises(ValueError, match="not valid Unicode"):
        translate(untrained(), TOKENIZER, ["\ud800"], config=CONFIG)
    with pytest.raises(ValueError, match="batch_size"):
        translate(untrained(), TOKENIZER, ["fine"], config=CONFIG, batch_size=0)


def test_damaged_weights_and_other_tokenizers_are_refused() -> None:
    head = untrained()
    with torch.no_grad():
        head.model.model.norm.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        translate(head, TOKENIZER, ["a"], config=CONFIG)
    with pytest.raises(ValueError, match="byte-level"):
        TranslationEncoder(Tokenizer(models.BPE()), SHAPE)


def test_nothing_to_translate() -> None:
    assert translate(untrained(), TOKENIZER, [], config=CONFIG) == []


@given(st.lists(st.tuples(st.integers(2, 90), st.integers(1, 200)), max_size=40), st.integers(1, 8))
def test_batches_fit_the_context_and_leave_nobody_out(sizes: list[tuple[int, int]], batch_size: int) -> None:
    lengths = [length for length, _ in sizes]
    rooms = [min(room, CONTEXT - length) for length, room in sizes]
    batches = list(_batches(lengths, rooms, batch_size, SHAPE))
    assert sorted(place for batch in batches for place in batch) == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert max(lengths[p] for p in batch) + max(rooms[p] for p in batch) <= CONTEXT
