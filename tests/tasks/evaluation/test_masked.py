"""The loss at hidden words: which are hidden, what is shown, and that every document gets its own sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.linear_cross_entropy import output_head
from models.objectives import Mask, masked_loss
from models.shards import TokenShard
from models.transformer import LanguageModel
from tasks.evaluation.masked import _places, _windows, score_hidden_words
from tests.models.tiny_training import TINY, VOCABULARY, write_split

CONTEXT = 16


@pytest.fixture
def shard(tmp_path: Path) -> TokenShard:
    draw = np.random.default_rng(3)
    lengths = (1, 5, 15, 16, 40, 17)
    write_split(tmp_path, "test", [draw.integers(4, VOCABULARY, size=n).tolist() for n in lengths])
    return TokenShard(tmp_path, "test")


def score(shard: TokenShard, rows: list[int], model: LanguageModel | None = None, seed: int = 0):
    unigram = np.full(VOCABULARY, -np.log(VOCABULARY - 1))
    return score_hidden_words(
        model or LanguageModel(TINY, seed=1).eval(),
        shard,
        rows,
        unigram,
        context_length=CONTEXT,
        ratio=0.3,
        seed=seed,
        precision=torch.float32,
    )


def test_windows_cover_each_document_without_overlap(shard: TokenShard) -> None:
    covered = [set() for _ in range(6)]
    for window in _windows(shard, range(6), CONTEXT):
        places = set(range(window.start, window.start + window.length))
        assert 2 <= window.length <= CONTEXT and not places & covered[window.document]
        covered[window.document] |= places
    for row, places in enumerate(covered):
        whole = set(range(shard.documents.starts[row], shard.documents.ends[row]))
        assert len(whole - places) <= 1  # a last token alone has nothing before it to be predicted from


def test_the_first_token_of_a_window_is_never_hidden(shard: TokenShard) -> None:
    for window in _windows(shard, range(6), CONTEXT):
        places = _places(window, 0.3, 0)
        assert places.min() >= 1 and places.max() < window.length
        assert len(set(places.tolist())) == max(1, round(0.3 * (window.length - 1)))


def test_the_loss_is_that_of_the_training_objective_at_the_same_places(shard: TokenShard) -> None:
    model = LanguageModel(TINY, seed=1).eval()
    found = score(shard, [4], model)
    total = 0.0
    for window in _windows(shard, [4], CONTEXT):
        ids = torch.from_numpy(shard.tokens[window.start : window.start + window.length].astype(np.int64))[
            None
        ]
        places = torch.from_numpy(_places(window, 0.3, 0))[None]
        mask = Mask(places, torch.ones(places.shape))
        with torch.no_grad():
            loss = masked_loss(model.model, output_head(model), ids, mask, TINY.mask_token_id or 0)
        total += float(loss) * places.numel()
    assert found.model[0] == pytest.approx(total, rel=1e-5)
    assert found.unigram[0] == pytest.approx(found.words[0] * np.log(VOCABULARY - 1))


def test_a_document_scores_the_same_alone_and_in_company(shard: TokenShard) -> None:
    together = score(shard, [0, 1, 2, 3, 4, 5])
    for row in range(6):
        alone = score(shard, [row])
        assert alone.model[0] == pytest.approx(together.model[row], rel=1e-5)
        assert alone.words[0] == together.words[row] >= 1


def test_the_hidden_words_are_a_function_of_the_seed(shard: TokenShard) -> None:
    assert np.array_equal(score(shard, [4], seed=5).model, score(shard, [4], seed=5).model)
    assert not np.array_equal(score(shard, [4], seed=5).model, score(shard, [4], seed=6).model)
