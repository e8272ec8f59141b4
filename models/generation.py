"""Generation, one token at a time: input -> analysis -> prediction -> output, looped.

input       the prompt becomes tokens; a begin token goes first, so an empty prompt is a prompt too
analysis    the network scores every token of the vocabulary as the next one, having read all before it
prediction  one token is chosen, greedily or by a seeded draw from the truncated distribution
output      the text that this token completes is emitted, and the token joins the input
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer, decoders
from torch import Tensor

from models.config import ModelConfig
from models.transformer import KeyValueCache, LanguageModel


class GenerationConfig(BaseModel):
    """How tokens are chosen and when to stop."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_new_tokens: int = Field(128, ge=1, le=100_000, description="Tokens to generate at most.")
    temperature: float = Field(0.8, ge=0.0, le=100.0, description="Flattens the distribution; 0 is greedy.")
    top_k: int = Field(50, ge=0, description="Draw from the k likeliest tokens only; 0 is no limit.")
    top_p: float = Field(
        0.95, gt=0.0, le=1.0, description="Draw from the smallest set of tokens with this much probability."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the draw; the same seed gives the same text.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), max_length=64, description="Texts that end generation; they are not emitted."
    )
    top_candidates: int = Field(5, ge=1, le=1000, description="Likeliest tokens to report at each step.")
    max_prompt_characters: int = Field(100_000, ge=0, description="Longest prompt accepted, in characters.")


class Candidate(NamedTuple):
    """A possible next token and the probability the model gives it."""

    token_id: int
    text: str
    probability: float


FinishReason = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class GenerationStep:
    """One turn of the loop.

    Probabilities are the model's own belief (temperature 1, no truncation) over the tokens that may be
    chosen; temperature, top_k and top_p shape only the draw.
    """

    step: int
    context_tokens: int
    candidates: tuple[Candidate, ...]
    token_id: int
    probability: float
    text: str
    finish_reason: FinishReason | None


def generate(model: LanguageModel, tokenizer: Tokenizer, prompt: str, config: GenerationConfig) -> str:
    """Return the whole continuation of `prompt`, without the prompt. Raises as `generate_steps`."""
    return "".join(step.text for step in generate_steps(model, tokenizer, prompt, config))


def generate_steps(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, config: GenerationConfig
) -> Iterator[GenerationStep]:
    """Generate, yielding every step as it happens; the texts of the steps joined are the continuation.

    Control tokens written out in the prompt are read as plain text; none but the end token is ever chosen.
    When the context is full, generation goes on from its most recent half, read afresh after a begin token.

    Raises:
        ValueError: at the call, for a prompt that is too long or not valid Unicode, or a tokenizer that
            does not fit the model; while iterating, when the network returns scores that are not finite.
    """
    if not isinstance(tokenizer.decoder, decoders.ByteLevel):
        raise ValueError("generation needs a byte-level tokenizer, whose tokens are bytes of UTF-8")
    tokens = encode_prompt(tokenizer, prompt, model.config, config.max_prompt_characters)
    return _steps(model, tokenizer, tokens, config)


def _steps(
    model: LanguageModel, tokenizer: Tokenizer, prompt: list[int], config: GenerationConfig
) -> Iterator[GenerationStep]:
    window = ContextWindow(model, prompt, room=config.max_new_tokens)
    allowed = choosable_tokens(tokenizer, model.config)
    generator = torch.Generator().manual_seed(config.seed)
    output = TextStream(config.stop)
    for step in range(config.max_new_tokens):
        beliefs = window.scores().masked_fill(~allowed, -torch.inf)
        probabilities = beliefs.softmax(-1)
        token = choose(beliefs, config, generator)
        reason: FinishReason | None = "length" if step + 1 == config.max_new_tokens else None
        if token in model.config.eos_token_ids:
            text, reason = "", "end"
        else:
            text = output.push(token_bytes(tokenizer, token))
            reason = "stop" if output.stopped else reason
        text += output.flush() if reason else ""
        yield GenerationStep(
            step=step,
            context_tokens=len(window.tokens),
            candidates=_candidates(tokenizer, probabilities, config.top_candidates),
            token_id=token,
            probability=probabilities[token].item(),
            text=text,
            finish_reason=reason,
        )
        if reason:
            return
        window.push(token)


def encode_prompt(tokenizer: Tokenizer, prompt: str, model: ModelConfig, max_characters: int) -> list[int]:
    """Turn a prompt, however hostile, into a begin token and plain-text tokens.

    Raises:
        ValueError: longer than `max_characters` or than the context, lone surrogates, ids the model lacks,
            or an empty prompt for a model without a begin token.
    """
    if len(prompt) > max_characters:
        raise ValueError(f"the prompt has {len(prompt)} characters, at most {max_characters} are accepted")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the prompt is not valid Unicode at character {error.start}") from error
    tokens = _encode_as_plain_text(tokenizer, prompt)
    if any(token >= model.vocab_size for token in tokens):
        raise ValueError(f"the tokenizer has ids beyond the model's vocabulary of {model.vocab_size}")
    if not _control_tokens(tokenizer, model).isdisjoint(tokens):
        raise ValueError("the tokenizer turns plain text of the prompt into control tokens")
    context = [*([] if model.bos_token_id is None else [model.bos_token_id]), *tokens]
    if not context:
        raise ValueError("the prompt is empty and the model has no begin token to start from")
    if len(context) > model.max_position_embeddings:
        room = model.max_position_embeddings
        raise ValueError(f"the prompt takes {len(context)} tokens, the model's context holds {room}")
    return context


def _encode_as_plain_text(tokenizer: Tokenizer, text: str) -> list[int]:
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)
    finally:
        tokenizer.encode_special_tokens = before


def _control_tokens(tokenizer: Tokenizer, model: ModelConfig) -> set[int]:
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    own = (model.bos_token_id, model.pad_token_id, model.mask_token_id, *model.eos_token_ids)
    return special | {token for token in own if token is not None}


def choosable_tokens(tokenizer: Tokenizer, model: ModelConfig) -> Tensor:
    """Mark (V,) the ids that may be generated: the tokenizer's own, and of the control tokens the end."""
    known = set(tokenizer.get_vocab(with_added_tokens=True).values()) & set(range(model.vocab_size))
    allowed = torch.zeros(model.vocab_size, dtype=torch.bool)
    allowed[sorted((known - _control_tokens(tokenizer, model)) | set(model.eos_token_ids))] = True
    return allowed


def choose(scores: Tensor, config: GenerationConfig, generator: torch.Generator) -> int:
    """Pick a token from scores (V,): the highest at temperature 0 (the lowest id on a tie), else a draw."""
    if config.temperature == 0.0:
        return int(scores.argsort(descending=True, stable=True)[0])
    return int(torch.multinomial(draw_distribution(scores, config), 1, generator=generator))


def draw_distribution(scores: Tensor, config: GenerationConfig) -> Tensor:
    """Probabilities (V,) of a draw: temperature, then top_k, then top_p (Holtzman et al. 2020).

    They sum to one; the likeliest token always stays. Float64, for temperatures near zero.
    """
    scores = scores.double()
    ranked, order = ((scores - scores.max()) / config.temperature).sort(descending=True, stable=True)
    if config.top_k:
        ranked[config.top_k :] = -torch.inf
    probabilities = ranked.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities[1:][before[1:] >= config.top_p] = 0.0
    return torch.zeros_like(probabilities).scatter(0, order, probabilities / probabilities.sum())


def _candidates(tokenizer: Tokenizer, probabilities: Tensor, count: int) -> tuple[Candidate, ...]:
    values, ids = (ranked[:count].tolist() for ranked in probabilities.sort(descending=True, stable=True))
    return tuple(
        Candidate(token, token_bytes(tokenizer, token).decode("utf-8", errors="replace"), probability)
        for token, probability in zip(ids, values, strict=True)
        if probability > 0.0
    )


class ContextWindow:
    """The tokens the network reads, with their cached keys and values; slides when the context is full.

    Starts from `tokens`, with memory for `room` more where the context allows.
    """

    def __init__(self, model: LanguageModel, tokens: list[int], *, room: int) -> None:
        self.model = model
        self.tokens = list(tokens)
        self.limit = model.config.max_position_embeddings
        self.cache = KeyValueCache(min(self.limit, len(tokens) + room))

    @torch.inference_mode()
    def scores(self) -> Tensor:
        """Read the tokens not read yet; return the scores (V,) of the next one, on the CPU."""
        device = self.model.model.embed_tokens.weight.device
        unread = torch.tensor([self.tokens[self.cache.length :]], device=device)
        hidden = self.model.model(unread, cache=self.cache)[0, -1]
        scores = self.model.logits(hidden).float().cpu()
        if not torch.isfinite(scores).all():
            raise ValueError("the model returned scores that are not finite; its weights are damaged")
        return scores

    def push(self, token: int) -> None:
        """Append `token`; if that is one too many, keep the most recent half and read it afresh."""
        self.tokens.append(token)
        if len(self.tokens) <= self.limit:
            return
        start = self.model.config.bos_token_id
        self.tokens = [*([] if start is None else [start]), *self.tokens[-max(1, self.limit // 2) :]]
        self.cache.reset()


def _byte_alphabet() -> dict[str, int]:
    # GPT-2's table: printable bytes stand for themselves, the others for characters from 256 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


_BYTES = _byte_alphabet()


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """Bytes of UTF-8 that a byte-level token stands for, perhaps part of a character; none if unknown."""
    written = tokenizer.id_to_token(token) or ""
    try:
        return bytes(_BYTES[character] for character in written)
    except KeyError:  # an added token, written as it reads
        return written.encode("utf-8")


class TextStream:
    """Turns tokens' bytes into text that may be shown: whole characters, and nothing of a stop text.

    What could be the start of a stop text is held back until it is known not to be. The outcome does not
    depend on how the bytes are cut: generation stops at the stop text that is complete first.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self.stops = tuple(stops)
        self.stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def push(self, piece: bytes) -> str:
        """Take a token's bytes; return the text that is now certain, often none."""
        return self._release(self._decoder.decode(piece))

    def flush(self) -> str:
        """End the stream; return what was held back, an unfinished character as U+FFFD."""
        certain = self._release(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return certain + held

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        ends = [(at + len(stop), at) for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            certain, self._held = self._held[: min(ends)[1]], ""
            return certain
        cut = len(self._held) - self._possible_start()
        certain, self._held = self._held[:cut], self._held[cut:]
        return certain

    def _possible_start(self) -> int:
        """Length of the longest end of the held text with which a stop text begins."""
        longest = min(len(self._held), max(map(len, self.stops), default=0))
        lengths = range(longest, 0, -1)
        return next((n for n in lengths if any(s.startswith(self._held[-n:]) for s in self.stops)), 0)
