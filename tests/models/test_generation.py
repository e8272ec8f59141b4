"""The generation loop: the same choices as `transformers`, honest probabilities, text that never breaks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE, WordLevel
from torch import Tensor

from models.config import ModelConfig
from models.generation import (
    ContextWindow,
    GenerationConfig,
    GenerationStep,
    TextStream,
    choose,
    draw_distribution,
    generate,
    generate_steps,
    token_bytes,
)
from models.transformer import LanguageModel

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|mask|>", "<|sep|>"]
GREEDY = {"temperature": 0.0, "max_new_tokens": 30}


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=[AddedToken(name, special=True) for name in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    text = "the cat sat on the mat and the dog sat on the log while it rained in the garden all day long"
    tokenizer.train_from_iterator([text] * 5, trainer)
    return tokenizer


TOKENIZER = make_tokenizer()
SIZE = TOKENIZER.get_vocab_size()


def make_model(kind: type[LanguageModel] = LanguageModel, **changes: Any) -> LanguageModel:
    values = {"vocab_size": SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    values |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    values |= {"max_position_embeddings": 128, "initializer_range": 0.2, **changes}
    model, generator = kind(ModelConfig.model_validate(values)), torch.Generator().manual_seed(5)
    with torch.no_grad():  # weights wide enough that the text wanders and the distribution is not uniform
        for weight in model.parameters():
            mean, std = (0.0, 0.4) if weight.dim() > 1 else (1.0, 0.3)
            weight.normal_(mean, std, generator=generator)
    return model.eval()


class Scripted(LanguageModel):
    """A network that wants exactly the tokens it is told, in order, whatever it reads."""

    script: Iterator[int]

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next token of the script above all others."""
        scores = torch.zeros(self.config.vocab_size)
        scores[next(self.script)] = 50.0
        return scores


def scripted(tokens: list[int], **changes: Any) -> LanguageModel:
    model = make_model(Scripted, **changes)
    model.script = iter(tokens)
    return model


def run(tokens: list[int], **config: Any) -> list[GenerationStep]:
    settings_ = GenerationConfig.model_validate({"temperature": 0.0, "max_new_tokens": len(tokens), **config})
    return list(generate_steps(scripted(tokens), TOKENIZER, "the", settings_))


@pytest.mark.parametrize("prompt", ["the cat sat on", "", "dog, 猫 and 🐈"])
@torch.no_grad()
def test_greedy_text_equals_that_of_transformers(prompt: str) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    model = make_model()
    theirs = Qwen3ForCausalLM(Qwen3Config.from_dict(model.config.to_hf())).eval()
    theirs.load_state_dict({**model.state_dict(), "lm_head.weight": model.model.embed_tokens.weight})
    ids = torch.tensor([[0, *TOKENIZER.encode(prompt).ids]])
    output = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=30,
        do_sample=False,
        suppress_tokens=[1, 2, 3],
    )
    steps = list(generate_steps(model, TOKENIZER, prompt, GenerationConfig(**GREEDY)))
    assert [step.token_id for step in steps] == output[0, ids.shape[1] :].tolist()
    assert len({step.token_id for step in steps}) > 5  # a constant text would prove little
    expected = TOKENIZER.decode([step.token_id for step in steps], skip_special_tokens=True)
    assert "".join(step.text for step in steps) == expected
    assert generate(model, TOKENIZER, prompt, GenerationConfig(**GREEDY)) == expected


def test_each_step_reports_the_distribution_it_chose_from() -> None:
    model = make_model()
    config = GenerationConfig(
        temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=12, top_candidates=SIZE, seed=3
    )
    context = [0, *TOKENIZER.encode("the cat").ids]
    for number, step in enumerate(generate_steps(model, TOKENIZER, "the cat", config)):
        assert (step.step, step.context_tokens) == (number, len(context))
        with torch.no_grad():
            scores = model(torch.tensor([context]))[0, -1]
        scores[[1, 2, 3]] = -torch.inf
        expected = scores.softmax(-1)
        assert sum(candidate.probability for candidate in step.candidates) == pytest.approx(1.0, abs=1e-5)
        assert not {1, 2, 3} & {candidate.token_id for candidate in step.candidates}
        for candidate in step.candidates:
            assert candidate.probability == pytest.approx(expected[candidate.token_id].item(), abs=1e-5)
        assert all(left.probability >= right.probability for left, right in pairwise(step.candidates))
        assert step.probability == pytest.approx(expected[step.token_id].item(), abs=1e-5)
        context.append(step.token_id)


def test_the_seed_decides_the_text_and_the_global_generator_does_not() -> None:
    model = make_model()
    texts = []
    for noise, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(noise)
        config = GenerationConfig(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=40, seed=seed)
        texts.append(generate(model, TOKENIZER, "the", config))
    assert texts[0] == texts[1] != texts[2]


def test_control_tokens_are_never_chosen_and_the_end_token_ends() -> None:
    class Tempted(LanguageModel):
        def logits(self, hidden: Tensor) -> Tensor:
            scores = torch.zeros(self.config.vocab_size)
            scores[1:4] = 90.0
            scores[SIZE:] = 80.0  # rows of the table that no token uses
            return scores

    model = make_model(Tempted, vocab_size=SIZE + 20)
    steps = list(generate_steps(model, TOKENIZER, "", GenerationConfig(temperature=2.0, top_k=0, top_p=1.0)))
    assert all(4 <= step.token_id < SIZE or step.token_id == 0 for step in steps)
    cat = TOKENIZER.encode("cat").ids
    ended = run([*cat, 0, *cat], max_new_tokens=20)
    assert "".join(step.text for step in ended) == "cat"
    assert [step.finish_reason for step in ended] == [None] * len(cat) + ["end"]
    assert ended[-1].candidates[0].text == "<|endoftext|>"


def test_control_tokens_in_the_prompt_are_plain_text() -> None:
    hostile = "a<|endoftext|><|mask|>b"
    step = next(generate_steps(make_model(), TOKENIZER, hostile, GenerationConfig(max_new_tokens=1)))
    assert len(TOKENIZER.encode(hostile, add_special_tokens=False).ids) == 4  # what a naive call would read
    assert step.context_tokens > 20
    assert TOKENIZER.encode_special_tokens is False  # the caller's tokenizer is as it was


def test_hostile_prompts_are_refused_at_the_call() -> None:
    model = make_model()
    with pytest.raises(ValueError, match=r"has 100001 characters, at most 100000"):
        generate_steps(model, TOKENIZER, "x" * 100_001, GenerationConfig())
    with pytest.raises(ValueError, match=r"the prompt takes 129 tokens, the model's context holds 128"):
        generate_steps(model, TOKENIZER, "\x00" * 128, GenerationConfig())
    with pytest.raises(ValueError, match="not valid Unicode at character 2"):
        generate_steps(model, TOKENIZER, "ab\ud800", GenerationConfig())
    with pytest.raises(ValueError, match="ids beyond the model's vocabulary"):
        generate_steps(make_model(vocab_size=50), TOKENIZER, "the", GenerationConfig())
    with pytest.raises(ValueError, match="empty and the model has no begin token"):
        generate_steps(make_model(bos_token_id=None), TOKENIZER, "", GenerationConfig())
    words = Tokenizer(WordLevel({"the": 0}, unk_token="the"))
    with pytest.raises(ValueError, match="byte-level tokenizer"):
        generate_steps(model, words, "the", GenerationConfig())


def test_a_damaged_model_is_reported() -> None:
    model = make_model()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        generate(model, TOKENIZER, "the", GenerationConfig())


def test_gradients_stay_on_for_the_caller_between_steps() -> None:
    for _ in generate_steps(make_model(), TOKENIZER, "the", GenerationConfig(max_new_tokens=2)):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


@torch.no_grad()
def test_a_full_context_slides_and_scores_stay_those_of_a_fresh_reading() -> None:
    model = make_model(max_position_embeddings=16)
    window = ContextWindow(model, [0, 10, 11], room=60)
    for token in range(20, 80):
        expected = model(torch.tensor([window.tokens]))[0, -1]
        torch.testing.assert_close(window.scores().clone(), expected, atol=1e-4, rtol=0)
        window.push(token)
        assert len(window.tokens) <= 16 and window.tokens[0] == 0 and window.tokens[-1] == token
    config = GenerationConfig(max_new_tokens=50, seed=1, temperature=1.0)
    steps = list(generate_steps(model, TOKENIZER, "the cat", config))
    assert max(step.context_tokens for step in steps) == 16
    assert len(steps) == 50 or steps[-1].finish_reason == "end"


@pytest.mark.parametrize(
    "text", ["naïve café", "猫が座る", "👩‍👩‍👧‍👦 family 🇫🇷", "e\u0301 \u200d\u00a0", "\x00\x1b[31m"]
)
def test_characters_are_never_split(text: str) -> None:
    steps = run(TOKENIZER.encode(text).ids)
    assert "".join(step.text for step in steps) == text
    assert all("\ufffd" not in step.text for step in steps)
    assert steps[-1].finish_reason == "length"
    if len(text.encode()) > len(text) + 1:
        assert "" in [step.text for step in steps]  # something was held back


def test_an_unfinished_character_is_replaced_at_the_end() -> None:
    tokens = TOKENIZER.encode("cat🐈").ids
    assert "".join(step.text for step in run(tokens[:-1])) == "cat\ufffd"
    ended = run([*tokens[:-1], 0])
    assert [step.text for step in ended][-1] == "\ufffd" and ended[-1].finish_reason == "end"


@given(st.lists(st.integers(4, SIZE - 1), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_streamed_text_is_the_tokenizers_own_decoding(tokens: list[int]) -> None:
    stream = TextStream()
    pieces = [stream.push(token_bytes(TOKENIZER, token)) for token in tokens]
    assert "".join(pieces) + stream.flush() == TOKENIZER.decode(tokens)


def test_a_stop_text_across_tokens_is_honoured_and_not_emitted() -> None:
    tokens = TOKENIZER.encode("a dog\n\nUser: hello").ids
    steps = run(tokens, stop=("\n\nUser:", "never"))
    assert "".join(step.text for step in steps) == "a dog"
    assert steps[-1].finish_reason == "stop" and len(steps) < len(tokens)
    almost = TOKENIZER.encode("a dog\n\nUse").ids
    assert "".join(step.text for step in run(almost, stop=("\n\nUser:",))) == "a dog\n\nUse"
    assert "".join(step.text for step in run([*almost, 0], stop=("\n\nUser:",))) == "a dog\n\nUse"
    held = [step.text for step in run(TOKENIZER.encode("x\n\nUs\n\nUser").ids, stop=("\n\nUser",))]
    assert "".join(held) == "x\n\nUs"


def first_completed(text: str, stops: list[str]) -> str:
    """The definition, one character at a time."""
    for end in range(1, len(text) + 1):
        matching = [stop for stop in stops if text[:end].endswith(stop)]
        if matching:
            return text[: end - max(map(len, matching))]
    return text


@given(
    st.text(alphabet="abé", max_size=25),
    st.lists(st.text(alphabet="abé", min_size=1, max_size=5), max_size=3),
    st.lists(st.integers(1, 4), min_size=60, max_size=60),
)
@settings(max_examples=300, deadline=None)
def test_stopping_does_not_depend_on_how_the_bytes_are_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    stream, rest, emitted = TextStream(stops), text.encode(), ""
    for cut in cuts:
        if stream.stopped:
            break
        emitted += stream.push(rest[:cut])
        rest = rest[cut:]
    emitted += stream.flush()
    assert emitted == first_completed(text, stops)
    assert stream.stopped == (emitted != text)


SCORES = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()


def draw(**config: Any) -> list[float]:
    settings_ = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **config}
    return [float(value) for value in draw_distribution(SCORES, GenerationConfig.model_validate(settings_))]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [0.1, 0.5, 0.15, 0.25]),
        ({"top_k": 2}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_k": 99}, [0.1, 0.5, 0.15, 0.25]),
        ({"top_p": 0.7}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_p": 0.76}, [0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9]),
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        ({"top_k": 3, "top_p": 0.6}, [0, 2 / 3, 0, 1 / 3]),
        ({"temperature": 0.5}, [0.01 / 0.345, 0.25 / 0.345, 0.0225 / 0.345, 0.0625 / 0.345]),
        ({"temperature": 1e-300}, [0, 1, 0, 0]),
    ],
)
def test_truncation_keeps_the_likeliest_and_renormalises(
    config: dict[str, Any], expected: list[float]
) -> None:
    assert draw(**config) == pytest.approx(expected, abs=1e-6)


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40),
    st.floats(0.01, 5),
    st.integers(0, 50),
    st.floats(0.001, 1),
)
@settings(max_examples=200, deadline=None)
def test_every_draw_distribution_is_one(scores: list[float], temperature: float, k: int, p: float) -> None:
    config = GenerationConfig(temperature=temperature, top_k=k, top_p=p)
    probabilities = draw_distribution(torch.tensor(scores), config)
    assert probabilities.sum().item() == pytest.approx(1.0)
    assert probabilities[max(range(len(scores)), key=scores.__getitem__)] > 0
    assert (probabilities > 0).sum() <= (k or len(scores))


def test_draws_follow_the_distribution_and_zero_temperature_takes_the_highest() -> None:
    generator = torch.Generator().manual_seed(0)
    config = GenerationConfig(temperature=1.0, top_k=3, top_p=1.0)
    counts = torch.bincount(
        torch.tensor([choose(SCORES, config, generator) for _ in range(4000)]), minlength=4
    )
    expected = draw_distribution(SCORES, config)
    assert counts[0] == 0
    assert (counts / 4000).tolist() == pytest.approx(expected.tolist(), abs=0.03)
    greedy = GenerationConfig(temperature=0.0)
    assert choose(SCORES, greedy, generator) == 1
    assert choose(torch.tensor([0.0, 3.0, 3.0]), greedy, generator) == 1  # ties: the lowest id


@pytest.mark.parametrize(
    "wrong",
    [{"stop": ("",)}, {"top_p": 0.0}, {"temperature": -1}, {"temperature": float("nan")}, {"max_tokens": 3}],
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GenerationConfig.model_validate(wrong)
