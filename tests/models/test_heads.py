"""Heads: padding changes nothing, both sides are seen when they should be, losses are those of their targets."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from models.examples import Example, collate
from models.heads import Classifier, ExampleBatch, SpanExtractor, Translator
from models.transformer import LanguageModel
from tests.models.tiny_training import TINY, VOCABULARY

LABELS = ("a", "b", "c")
IDS = (0, 11, 12, 13, 14, 15)


def trunk() -> LanguageModel:
    model = LanguageModel(TINY.model_copy(update={"initializer_range": 0.3}), seed=3)
    return model.eval()


def padded(batch: ExampleBatch, extra: int, pad_id: int) -> ExampleBatch:
    ids = functional.pad(batch.input_ids, (0, extra), value=pad_id)
    return batch._replace(input_ids=ids, attention_mask=functional.pad(batch.attention_mask, (0, extra)))


def batch(targets: tuple[tuple[int, ...], tuple[int, ...]] = ((1,), (2,))) -> ExampleBatch:
    return collate([Example(IDS, targets[0]), Example(IDS[:4], targets[1])], pad_id=1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("kind", [Classifier, SpanExtractor])
def test_padding_changes_no_score(kind: type, bidirectional: bool) -> None:
    more = (LABELS,) if kind is Classifier else ()
    head = kind(trunk(), *more, bidirectional=bidirectional, seed=1)
    plain, wide = batch(), padded(batch(), 9, 77)
    scores = head(plain.input_ids, plain.attention_mask)
    again = head(wide.input_ids, wide.attention_mask)
    if kind is SpanExtractor:
        assert (again[:, 6:] == torch.finfo(again.dtype).min).all()
        again = again[:, :6]
    torch.testing.assert_close(again, scores, atol=1e-6, rtol=1e-5)
    other = plain._replace(input_ids=plain.input_ids.masked_fill(~plain.attention_mask, 50))
    assert torch.equal(head(other.input_ids, other.attention_mask), scores)


def test_padding_changes_no_loss_of_a_translation() -> None:
    head, plain = Translator(trunk()), batch(((3,), (2,)))
    torch.testing.assert_close(head.loss(padded(plain, 9, 77)), head.loss(plain), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_only_a_bidirectional_head_sees_what_follows(bidirectional: bool) -> None:
    head = SpanExtractor(trunk(), bidirectional=bidirectional)
    ids = torch.tensor([IDS, (*IDS[:5], 16)])
    scores = head(ids, torch.ones_like(ids, dtype=torch.bool))
    before = (scores[0, :5] - scores[1, :5]).abs().amax(1)
    assert (before > 1e-5).all() if bidirectional else (before == 0).all()
    assert (scores[0, 5] - scores[1, 5]).abs().max() > 1e-5


def test_a_classifier_reads_every_token_in_its_direction() -> None:
    model = trunk()
    both, one = (Classifier(model, LABELS, bidirectional=flag, seed=1) for flag in (True, False))
    ids = torch.tensor([IDS])
    mask = torch.ones_like(ids, dtype=torch.bool)
    assert (both(ids, mask) - one(ids, mask)).abs().max() > 1e-4
    hidden = model.model(ids, causal=False).mean(1)
    torch.testing.assert_close(both(ids, mask), both.score(hidden))


def test_a_new_head_gives_equal_odds_and_depends_on_its_seed_alone() -> None:
    model = trunk()
    torch.manual_seed(1)
    first = Classifier(model, LABELS, seed=5)
    torch.manual_seed(2)
    same, other = Classifier(model, LABELS, seed=5), Classifier(model, LABELS, seed=6)
    assert torch.equal(first.score.weight, same.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert first.loss(batch()).item() == pytest.approx(math.log(3), abs=0.2)


def test_the_loss_is_the_cross_entropy_of_the_targets() -> None:
    given = batch()
    head = Classifier(trunk(), LABELS, seed=1)
    likely = head(given.input_ids, given.attention_mask).log_softmax(-1)
    assert head.loss(given).item() == pytest.approx(-(likely[0, 1] + likely[1, 2]).item() / 2, rel=1e-5)
    spans, given = SpanExtractor(trunk(), seed=1), batch(((2, 4), (0, 0)))
    likely = spans(given.input_ids, given.attention_mask).log_softmax(1)
    expected = likely[0, 2, 0] + likely[0, 4, 1] + likely[1, 0, 0] + likely[1, 0, 1]
    assert spans.loss(given).item() == pytest.approx(-expected.item() / 4, rel=1e-5)


def test_a_translator_is_taught_the_target_alone() -> None:
    head, given = Translator(trunk()), batch(((3,), (2,)))
    likely = head.model(given.input_ids).log_softmax(-1)
    # of the first row tokens 3, 4, 5 are predicted from the places before; of the second, which has 4, 2 and 3
    places = [(0, 3), (0, 4), (0, 5), (1, 2), (1, 3)]
    expected = [likely[row, place - 1, given.input_ids[row, place]] for row, place in places]
    assert head.loss(given).item() == pytest.approx(-sum(expected).item() / 5, rel=1e-5)
    changed = given._replace(input_ids=given.input_ids.clone())
    changed.input_ids[0, 1] = VOCABULARY - 1  # the source is read all the same
    assert head.loss(changed).item() != pytest.approx(head.loss(given).item(), abs=1e-5)
