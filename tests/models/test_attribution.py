"""The meter test of explanations: a trigger planted by us must be found, and the sums must add up."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn

from models.attribution import Attribution, attribute, completeness_error, random_attribution
from models.config import ModelConfig
from models.examples import Example, collate
from models.faithfulness import faithfulness, important
from models.heads import Classifier, SpanExtractor
from models.predictions import (
    Prediction,
    blank_token,
    label_prediction,
    next_token_prediction,
    span_prediction,
)
from models.transformer import LanguageModel

CONTROL = ("<|endoftext|>", "<|pad|>", "<|mask|>", "<|sep|>")
WORDS = tuple(f"w{number}" for number in range(30))
TRIGGER = "zq"
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 48,
}


def words_tokenizer() -> Tokenizer:
    names = (*CONTROL, "?", TRIGGER, *WORDS)
    tokenizer = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(CONTROL))
    return tokenizer


def bytes_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: at for at, name in enumerate((*CONTROL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    return tokenizer


def tiny_model(vocabulary: int, seed: int = 0) -> LanguageModel:
    model = LanguageModel(ModelConfig(vocab_size=vocabulary, **TINY), seed=seed)
    with torch.no_grad():  # larger than at the start of a training, so that there is something to explain
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(8)
    return model.eval()


def planted(count: int, seed: int) -> list[tuple[str, int]]:
    """Texts of random words; half of the positive ones hold the trigger, no negative one does."""
    draw, found = random.Random(seed), []
    for number in range(count):
        words, label = [draw.choice(WORDS) for _ in range(draw.randint(6, 12))], number % 2
        if label and number % 4 == 1:
            words[draw.randrange(len(words))] = TRIGGER
        found.append((" ".join(words), label))
    return found


@pytest.fixture(scope="module")
def taught() -> Classifier:
    """A classifier that learned what the trigger means; the other words mean nothing."""
    torch.manual_seed(0)
    tokenizer = words_tokenizer()
    shape = ModelConfig(vocab_size=tokenizer.get_vocab_size(), **TINY)
    head = Classifier(LanguageModel(shape, seed=1), ("negative", "positive"))
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
    examples = [Example((0, *tokenizer.encode(text).ids), (label,)) for text, label in planted(1280, 1)]
    for step in range(80):
        batch = collate(examples[step * 32 % 1280 :][:32], 1)
        optimiser.zero_grad()
        head.loss(batch).backward()
        optimiser.step()
    return head.eval()


def test_the_planted_trigger_is_found(taught: Classifier) -> None:
    tokenizer = words_tokenizer()
    texts = [text for text, _ in planted(160, 2) if TRIGGER in text.split()]
    hits, by_chance, errors, ours, theirs = [], [], [], [], []
    for number, text in enumerate(texts):
        prediction = label_prediction(taught, tokenizer, text, max_tokens=48)
        assert prediction.target == "positive"
        found = attribute(prediction)
        guess = random_attribution(found, number)
        hits.append(found.pieces[int(np.argmax(found.scores))].strip() == TRIGGER)
        by_chance.append(guess.pieces[int(np.argmax(guess.scores))].strip() == TRIGGER)
        errors.append(found.completeness_error)
        for removal in ("delete", "mask"):
            first, second = faithfulness(prediction, [found.scores, guess.scores], removal)
            ours.append(first)
            theirs.append(second)
    assert len(texts) == 40
    assert np.mean(hits) >= 0.95
    assert np.mean(by_chance) <= 0.4
    assert max(errors) < 0.02
    gained, lost = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    assert gained > 0.2
    assert lost < -0.2


def by_hand(ids: Sequence[int], value: object, places: tuple[int, ...] = ()) -> Prediction:
    """A prediction by a function of ours."""
    table = nn.Embedding(12, 5)
    return Prediction(
        embedding=table,
        input_ids=tuple(ids),
        pieces=("", *(f" {token}" for token in ids[1:])),
        kept=frozenset({0}),
        places=places,
        blank_id=2,
        target="",
        value=value(table),  # type: ignore[operator]
        probability=value(table),  # type: ignore[operator]
    )


def test_a_linear_function_is_explained_exactly() -> None:
    torch.manual_seed(0)
    weights = torch.randn(6, 5)

    def linear(table: nn.Embedding) -> object:
        return lambda ids, mask, places: (table(ids) * weights).sum(dim=(1, 2))

    prediction = by_hand([0, 4, 5, 6, 7, 8], linear)
    found = attribute(prediction)
    table = prediction.embedding.weight.detach()  # type: ignore[union-attr]
    expected = [
        float((table[t] - table[2 if at else 0]) @ weights[at]) for at, t in enumerate(prediction.input_ids)
    ]
    assert found.scores == pytest.approx(expected, abs=1e-5)
    assert found.scores[0] == 0.0
    assert sum(found.scores) == pytest.approx(found.value - found.baseline_value, abs=1e-5)
    assert found.completeness_error < 1e-5
    assert found.trials == ((32, found.completeness_error),)


def test_steps_double_until_the_scores_add_up_and_a_failure_is_told() -> None:
    def staircase(table: nn.Embedding) -> object:
        return lambda ids, mask, places: torch.sigmoid(
            4000 * (table(ids)[:, 1, 0] - table.weight[2, 0] - 0.3)
        )

    prediction = by_hand([0, 4], staircase)
    with torch.no_grad():
        prediction.embedding.weight[4, 0] = prediction.embedding.weight[2, 0] + 1.0  # type: ignore[union-attr, index, operator]
    found = attribute(prediction, most_steps=100)
    assert [steps for steps, _ in found.trials] == [32, 64]
    assert not found.complete
    assert found.completeness_error == found.trials[-1][1] > 0.02


def test_every_kind_of_prediction_adds_up() -> None:
    tokenizer = bytes_tokenizer()
    vocabulary = tokenizer.get_vocab_size()
    extractor = SpanExtractor(tiny_model(vocabulary, 1), seed=3)
    asked = [
        label_prediction(
            Classifier(tiny_model(vocabulary), ("a", "b", "c"), seed=2), tokenizer, "a café 🙂", max_tokens=40
        ),
        span_prediction(extractor, tokenizer, "who?", "it was Ann, so", max_tokens=40, answer=(7, 10)),
        span_prediction(extractor, tokenizer, "who?", "it was Ann, so", max_tokens=40, answer=None),
        next_token_prediction(tiny_model(vocabulary, 2), tokenizer, "a café 🙂"),
    ]
    for prediction in asked:
        found = attribute(prediction)
        assert found.complete
        assert len(found.scores) == len(found.pieces) == len(found.offsets) == len(prediction.input_ids)
        assert all(found.scores[place] == 0.0 for place in prediction.kept)
        text = "".join(found.pieces)
        assert [text[start:end] for start, end in found.offsets] == list(found.pieces)
    assert "".join(asked[0].pieces) == "a café 🙂"
    assert "".join(asked[1].pieces) == "who?\nit was Ann, so"
    start, last = asked[1].places
    assert "".join(asked[1].pieces[start : last + 1]) == asked[1].target == "Ann"
    assert asked[2].places == (0, 0)


def test_what_is_explained_is_what_the_head_says() -> None:
    tokenizer = words_tokenizer()
    head = Classifier(tiny_model(tokenizer.get_vocab_size()), ("a", "b", "c"), seed=2)
    prediction = label_prediction(head, tokenizer, "w1 w2 w3", max_tokens=48)
    ids = torch.tensor([[0, *tokenizer.encode("w1 w2 w3").ids]])
    odds = head(ids, torch.ones_like(ids, dtype=torch.bool)).softmax(-1)[0].detach()
    assert prediction.target == head.labels[int(odds.argmax())]
    assert attribute(prediction).value == pytest.approx(float(odds.max()), abs=1e-6)
    hidden = torch.tensor([[0, 2, 2, 2]])
    blank = head(hidden, torch.ones_like(hidden, dtype=torch.bool)).softmax(-1)[0].detach()
    assert attribute(prediction).baseline_value == pytest.approx(float(blank[odds.argmax()]), abs=1e-6)


def test_a_long_context_is_read_around_its_answer() -> None:
    tokenizer = words_tokenizer()
    extractor = SpanExtractor(tiny_model(tokenizer.get_vocab_size()))
    context = " ".join([*WORDS, *WORDS, "zq", *WORDS])
    start = context.index("zq")
    found = span_prediction(extractor, tokenizer, "w1 w2", context, max_tokens=24, answer=(start, start + 2))
    assert len(found.input_ids) == 24
    assert [found.pieces[place].strip() for place in found.places] == ["zq", "zq"]
    with pytest.raises(ValueError, match="no token stands"):
        span_prediction(extractor, tokenizer, "w1", "w1 w2", max_tokens=24, answer=(90, 95))


def test_control_tokens_written_out_are_text() -> None:
    tokenizer = bytes_tokenizer()
    head = Classifier(tiny_model(tokenizer.get_vocab_size()), ("a", "b"))
    prediction = label_prediction(head, tokenizer, "<|sep|>", max_tokens=40)
    assert prediction.input_ids.count(3) == 0
    assert len(prediction.input_ids) == 8


def test_an_empty_text_has_nothing_to_explain() -> None:
    tokenizer = words_tokenizer()
    head = Classifier(tiny_model(tokenizer.get_vocab_size()), ("a", "b"))
    prediction = label_prediction(head, tokenizer, "", max_tokens=48)
    found = attribute(prediction)
    assert found.scores == (0.0,)
    assert found.completeness_error == 0.0
    assert faithfulness(prediction, [found.scores], "delete") == [(0.0, 0.0)]


def test_random_scores_are_the_same_scores_elsewhere() -> None:
    found = Attribution(("", "a", "b", "c"), ((0, 0),) * 4, (0.0, 1.0, 2.0, 3.0), "x", 6.0, 0.0, 0.0)
    drawn = {random_attribution(found, seed).scores for seed in range(30)}
    assert {tuple(sorted(scores)) for scores in drawn} == {(0.0, 1.0, 2.0, 3.0)}
    assert all(scores[0] == 0.0 for scores in drawn)
    assert len(drawn) == 6
    assert random_attribution(found, 3) == random_attribution(found, 3)


def test_completeness_error_is_relative() -> None:
    assert completeness_error(np.array([0.5, 0.4]), 1.0, 0.0) == pytest.approx(0.1)
    assert completeness_error(np.array([0.0]), 1.0, 1.0) == 0.0


def test_faithfulness_by_hand() -> None:
    """A model that believes in the share of sevens among the tokens: removing and keeping can be counted."""

    def sevens(_table: nn.Embedding) -> object:
        def share(ids: Tensor, mask: Tensor, _places: Tensor) -> Tensor:
            return ((ids == 7) & mask).double().sum(dim=1) / mask.sum(dim=1)

        return share

    prediction = by_hand([0, 7, 4, 4, 4], sevens)
    good, bad = (0.0, 1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.3, 0.2, 0.1)
    deleted = faithfulness(prediction, [good, bad], "delete", shares=(0.25,))
    assert deleted[0] == pytest.approx((0.2 - 0.0, 0.2 - 1 / 2))
    assert deleted[1] == pytest.approx((0.2 - 1 / 4, 0.2 - 0.0))
    masked = faithfulness(prediction, [good, bad], "mask", shares=(0.25,))
    assert masked[0] == pytest.approx((0.2, 0.0))
    assert masked[1] == pytest.approx((0.0, 0.2))
    averaged = faithfulness(prediction, [bad], "mask", shares=(0.25, 1.0))[0]
    assert averaged == pytest.approx((0.1, 0.1))


def test_a_deletion_moves_the_places_that_are_read() -> None:
    def tokens_read(_table: nn.Embedding) -> object:
        return lambda ids, mask, places: ids.gather(1, places).double().sum(dim=1)

    prediction = by_hand([0, 4, 5, 9, 6, 8], tokens_read, places=(3, 5))
    for found in faithfulness(prediction, [(0, 3, 2, 9, 1, 9), (0, 1, 2, 9, 3, 9)], "delete"):
        assert found == (0.0, 0.0)
    assert prediction.free == (1, 2, 4)
    assert important(prediction, (0, 1, 1, 9, 1, 9), 0.5) == {1, 2}


def test_the_blank_token_without_a_mask_token() -> None:
    assert blank_token(ModelConfig()) == 2
    assert blank_token(ModelConfig(mask_token_id=None)) == 1
    assert blank_token(ModelConfig(mask_token_id=None, pad_token_id=None, eos_token_id=0)) == 0


def test_attribution_leaves_the_model_alone(taught: Classifier) -> None:
    before = {name: weight.clone() for name, weight in taught.state_dict().items()}
    prediction = label_prediction(taught, words_tokenizer(), "w1 zq", max_tokens=48)
    first = attribute(prediction)
    assert dataclasses.asdict(first) == dataclasses.asdict(attribute(prediction))
    assert all(torch.equal(weight, before[name]) for name, weight in taught.state_dict().items())
    assert not taught.model.model.embed_tokens._forward_hooks
