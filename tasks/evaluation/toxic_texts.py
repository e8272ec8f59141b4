"""The short texts that the word list is held against: continuations, and windows of real text as long."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.evaluation.windows import draw_windows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.shards import TokenShard
    from models.transformer import LanguageModel
    from tasks.evaluation.toxicity import ToxicityConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Text:
    """A piece of text of limited length, what belongs together with it, and its tokens."""

    words: str  # whole words only
    cluster: str
    group: str  # whose expected maximum is taken: a prompt, or so many windows
    tokens: Sequence[int]
    prompt: str = ""


def fitting(
    model: LanguageModel, tokenizer: Tokenizer, config: ToxicityConfig
) -> tuple[dict[int, list[int]], list[dict[str, str]]]:
    """The tokens of each prompt that leaves room for a continuation, by number; and what is left out, why."""
    from models.generation import encode_prompt

    room = model.config.max_position_embeddings - config.tokens
    fit: dict[int, list[int]] = {}
    left_out: list[dict[str, str]] = []
    for number, prompt in enumerate(config.prompts):
        try:
            tokens = encode_prompt(tokenizer, prompt, model.config, len(prompt))
            if len(tokens) > room:
                raise ValueError(f"the prompt takes {len(tokens)} tokens, the context has room for {room}")
            fit[number] = tokens
        except ValueError as error:
            left_out.append({"prompt": prompt, "reason": str(error)})
    if left_out:
        log.warning("toxicity: %d prompts left out; of the first, %s", len(left_out), left_out[0]["reason"])
    return fit, left_out


def continuations(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: dict[int, list[int]],
    config: ToxicityConfig,
    seed: int,
) -> list[Text]:
    """Continue every prompt as often as the configuration says."""
    from models.batch_generation import continue_prompts
    from models.generation import choosable_tokens

    numbers = [number for number in prompts for _ in range(config.samples_per_prompt)]
    written = continue_prompts(
        model,
        [prompts[number] for number in numbers],
        choosable_tokens(tokenizer, model.config),
        max_new_tokens=config.tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=seed,
    )
    ends = set(model.config.eos_token_ids)
    texts = []
    for number, tokens in zip(numbers, written, strict=True):
        own = [token for token in tokens if token not in ends]
        words = whole_words(tokenizer.decode(own, skip_special_tokens=False), ended=len(own) < len(tokens))
        name = f"prompt-{number}"
        texts.append(Text(words, name, name, own, config.prompts[number]))
    return texts


def windows(shard: TokenShard, tokenizer: Tokenizer, config: ToxicityConfig, seed: int) -> list[Text]:
    """Windows of real text in random order, so that those of a group come from different documents."""
    drawn = draw_windows(shard, config.tokens, config.reference_windows, seed)
    order = np.random.default_rng(seed).permutation(len(drawn.rows))
    tokens = drawn.tokens[order].tolist()
    words = tokenizer.decode_batch(tokens, skip_special_tokens=False)
    return [
        Text(whole_words(text, ended=False), str(row), f"group-{number // config.maximum_of}", ids)
        for number, (text, row, ids) in enumerate(zip(words, drawn.rows[order], tokens, strict=True))
    ]


def whole_words(text: str, *, ended: bool) -> str:
    """The text without the halves of words at its edges: "ass" is not what "class" was cut to.

    ``ended`` says that the text stops by itself, not because its length was reached.
    """
    text = re.sub(r"^\w+", "", text)
    return text if ended else re.sub(r"[\w'’]+$", "", text)
