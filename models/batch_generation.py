"""Continuations of many prompts at once, for measuring: ids in, ids out.

`models.generation` makes one text for people, with its candidates, and lets the context slide. Here a batch
shares every pass through the network, and a continuation ends where the context does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.transformer import KeyValueCache, LanguageModel

_PADDING = 0  # any id: what is masked is never looked at


def continue_prompts(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    allowed: Tensor,
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
) -> list[list[int]]:
    """Continue every prompt by up to `max_new_tokens` ids; one that ended has its end token last.

    Args:
        model: a network that predicts the next token.
        prompts: ids of each, not empty, the begin token included where one is wanted.
        allowed: (V,) bool, the ids that may be chosen: `models.generation.choosable_tokens`.
        max_new_tokens: what to add to each at most.
        temperature: 0 is greedy, the lowest id on a tie.
        top_p: draw from the smallest set of ids with this much probability (Holtzman et al. 2020).
        seed: prompt i draws from a stream of its own, (seed, i), whatever else is in its batch.
        batch_size: prompts read at a time.

    Raises:
        ValueError: an empty prompt, one whose continuation would not fit in the context, or scores that are
            not finite.
    """
    limit = model.config.max_position_embeddings
    for number, prompt in enumerate(prompts):
        if not 0 < len(prompt) <= limit - max_new_tokens:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens; with {max_new_tokens} to come, "
                f"1 to {limit - max_new_tokens} fit in the context"
            )
    found: list[list[int]] = [[] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    for start in range(0, len(by_length), batch_size):
        rows = by_length[start : start + batch_size]
        draws = np.stack([np.random.default_rng([seed, row]).random(max_new_tokens) for row in rows])
        batch = _continue(model, [prompts[row] for row in rows], allowed, draws, temperature, top_p)
        for row, tokens in zip(rows, batch, strict=True):
            found[row] = tokens
    return found


@torch.inference_mode()
def _continue(
    model: LanguageModel,
    prompts: list[Sequence[int]],
    allowed: Tensor,
    draws: NDArray[np.float64],
    temperature: float,
    top_p: float,
) -> list[list[int]]:
    """Continue one batch; `draws` (B, steps) are uniform on [0, 1)."""
    device = model.model.embed_tokens.weight.device
    unread, mask = _padded(prompts, device)
    steps, ends = draws.shape[1], list(model.config.eos_token_ids)
    cache = KeyValueCache(unread.shape[1] + steps)
    produced = np.zeros((len(prompts), 0), dtype=np.int64)
    for step in range(steps):
        hidden = model.model(unread, attention_mask=mask, cache=cache)[:, -1]
        scores = model.logits(hidden).float().cpu()
        if not torch.isfinite(scores).all():
            raise ValueError("the model returned scores that are not finite; its weights are damaged")
        chosen = _choose(scores.masked_fill(~allowed, -torch.inf), draws[:, step], temperature, top_p)
        produced = np.column_stack([produced, chosen])
        if np.isin(produced, ends).any(axis=1).all():
            break
        unread = torch.from_numpy(chosen)[:, None].to(device)
        mask = None if mask is None else torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
    return [_up_to_end(row, ends) for row in produced.tolist()]


def _padded(prompts: list[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Prompts (B, T) filled on the left, so that all end together, and where they are real; None: everywhere.

    Rotary positions are relative: shifting a row changes nothing.
    """
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), _PADDING)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = True
    return ids.to(device), None if bool(mask.all()) else mask.to(device)


def _choose(
    scores: Tensor, draws: NDArray[np.float64], temperature: float, top_p: float
) -> NDArray[np.int64]:
    """One id for each row of scores (B, V), greedily or by inverting the cumulative distribution."""
    if temperature == 0.0:
        return np.asarray(scores.numpy().argmax(axis=-1), dtype=np.int64)
    scores = scores.double()
    peaks = scores.amax(dim=-1, keepdim=True)
    ranked, order = ((scores - peaks) / temperature).sort(dim=-1, descending=True, stable=True)
    probabilities = ranked.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities[(before >= top_p) & (torch.arange(scores.shape[1]) > 0)] = 0.0
    reached = probabilities.cumsum(-1)
    wanted = torch.from_numpy(draws)[:, None] * reached[:, -1:]
    # a draw that rounds up to the whole must not fall on an id of no probability
    places = (reached <= wanted).sum(-1).clamp(max=(probabilities > 0).sum(-1) - 1)
    return np.asarray(order.gather(1, places[:, None])[:, 0].numpy(), dtype=np.int64)


def _up_to_end(tokens: list[int], ends: list[int]) -> list[int]:
    stop = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:stop]
