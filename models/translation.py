"""Translation with a taught language model: greedy, in batches, with placeholders carried over verbatim.

Software strings hold what nobody may translate: ``%(name)s``, ``{count}``, ``<a href="...">``. A small
vocabulary cuts such a placeholder into a dozen tokens, and one wrong token breaks a program. So, as is usual in
localisation, every placeholder of the source becomes one token, its slot; the network moves slots about, and
they become text again afterwards. A byte-level vocabulary has tokens to spare for this: those of the 13 bytes
that no UTF-8 text contains. Decoding is constrained: each slot is written as often as it stands in the source.
So the survival of placeholders is the decoder's merit; where they stand is the network's.

Encoding: ``<|endoftext|> source <|sep|> target <|endoftext|>``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders
from torch import Tensor

from models.config import ModelConfig
from models.examples import Example
from models.export import SEPARATOR
from models.generation import choosable_tokens, token_bytes
from models.head_export import HeadConfig
from models.heads import Translator
from models.transformer import KeyValueCache

LENGTH_RATIO, LENGTH_EXTRA = "length_ratio", "length_extra"
"""Settings of a translator: at most ``ratio * source tokens + extra`` tokens are written."""
_DEFAULT_RATIO, _DEFAULT_EXTRA = 3.0, 12.0

_PLACEHOLDER = re.compile(
    r"%\(\w+\)[-#0+]*\d*(?:\.\d+)?[a-zA-Z]"  # %(name)s
    r"|%(?:\d+\$)?[-#0+]*\d*(?:\.\d+)?[sdifFgGeExXoucr](?![^\W\d_])"  # %s, %.2f, %1$s
    r"|%\d+"  # %1
    r"|\{\{[^{}]*\}\}|\{%[^{}]*%\}|\{[^{}\s]*\}"  # {{ name }}, {% tag %}, {name}
    r"|</?[A-Za-z][^<>]*>"  # <a href="...">, </a>
)
_NEVER_IN_UTF8 = (*range(0xF5, 0x100), 0xC0, 0xC1)


def placeholders(text: str) -> Counter[str]:
    """What in `text` has to reach the translation unchanged, and how often it stands there."""
    return Counter(_PLACEHOLDER.findall(text))


@dataclass(frozen=True)
class Prompt:
    """A source, ready for the network; `slots` says what each slot's token stands for."""

    input_ids: tuple[int, ...]
    slots: dict[int, str]

    def wanted(self) -> Counter[int]:
        """How often each slot has to be written."""
        return Counter(token for token in self.input_ids if token in self.slots)


class TranslationEncoder:
    """Turns pairs of texts into tokens and tokens into text, by one tokenizer and for one model."""

    def __init__(self, tokenizer: Tokenizer, model: ModelConfig) -> None:
        """Look up the control tokens and the spare ones.

        Raises:
            ValueError: the tokenizer is not byte-level, or the model has no `<|sep|>` or no end token.
        """
        separator = tokenizer.token_to_id(SEPARATOR)
        if not isinstance(tokenizer.decoder, decoders.ByteLevel):
            raise ValueError("translation needs a byte-level tokenizer, whose tokens are bytes of UTF-8")
        if separator is None or separator >= model.vocab_size:
            raise ValueError(f"translation needs the token {SEPARATOR}, which this model does not have")
        if model.eos_token_id is None:
            raise ValueError("translation needs an end token, which this model does not have")
        self._tokenizer, self.model, self._separator = tokenizer, model, separator
        self.end = model.eos_token_id
        self._begin = self.end if model.bos_token_id is None else model.bos_token_id
        # In a byte-level vocabulary these bytes are written as the characters of their own number.
        spare = (tokenizer.token_to_id(chr(byte)) for byte in _NEVER_IN_UTF8)
        self.spare = tuple(token for token in spare if token is not None and token < model.vocab_size)

    def prompt(self, source: str) -> Prompt:
        """Encode what the network reads: ``<|endoftext|> source <|sep|>``.

        Raises:
            ValueError: `source` is not valid Unicode.
        """
        found = tuple(placeholders(source))
        slots = dict(zip(found, self.spare, strict=False))
        ids = (self._begin, *self._encode(source, slots), self._separator)
        return Prompt(ids, {token: text for text, token in slots.items()})

    def example(self, source: str, target: str) -> Example:
        """Encode a pair to learn from; ``targets`` holds the place of the target's first token."""
        prompt = self.prompt(source)
        slots = {text: token for token, text in prompt.slots.items()}
        ids = (*prompt.input_ids, *self._encode(target, slots), self.end)
        return Example(ids, (len(prompt.input_ids),))

    def text(self, tokens: Sequence[int], slots: dict[int, str]) -> str:
        """Decode what the network wrote; bytes that are no UTF-8 become U+FFFD."""
        pieces = (
            slots[token].encode() if token in slots else token_bytes(self._tokenizer, token)
            for token in tokens
        )
        return b"".join(pieces).decode("utf-8", errors="replace").strip()

    def choosable(self) -> Tensor:
        """Mark (V,) the tokens that may be written whatever the source: text, and the one end token."""
        allowed = choosable_tokens(self._tokenizer, self.model)
        unwanted = {*self.spare, *self.model.eos_token_ids} - {self.end}
        allowed[sorted(unwanted)] = False
        return allowed

    def _encode(self, text: str, slots: dict[str, int]) -> Iterator[int]:
        place = 0
        for match in _PLACEHOLDER.finditer(text):
            if match.group() in slots:
                yield from self._plain(text[place : match.start()])
                yield slots[match.group()]
                place = match.end()
        yield from self._plain(text[place:])

    def _plain(self, text: str) -> list[int]:
        """Tokens of `text`, in which a control token written out is plain text."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"the text is not valid Unicode at character {error.start}") from error
        before = self._tokenizer.encode_special_tokens
        self._tokenizer.encode_special_tokens = True
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        finally:
            self._tokenizer.encode_special_tokens = before


def room_for(prompt: Prompt, model: ModelConfig, settings: dict[str, float]) -> int:
    """Tokens that may be written for `prompt`, the end token included; 0 if the prompt fills the context."""
    ratio, extra = settings.get(LENGTH_RATIO, _DEFAULT_RATIO), settings.get(LENGTH_EXTRA, _DEFAULT_EXTRA)
    wished = math.ceil(ratio * (len(prompt.input_ids) - 2) + extra)
    return max(0, min(wished, model.max_position_embeddings - len(prompt.input_ids)))


def translate(
    head: Translator, tokenizer: Tokenizer, texts: Sequence[str], *, config: HeadConfig, batch_size: int = 32
) -> list[str]:
    """Translate every text greedily: the likeliest token each time, until the end token or the length limit.

    What a text becomes does not depend on the texts beside it. No control token is ever written.

    Raises:
        ValueError: a text is too long for the model's context or no valid Unicode, or the tokenizer does not
            fit the model; `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    encoder = TranslationEncoder(tokenizer, head.model.config)
    prompts = [encoder.prompt(text) for text in texts]
    rooms = [room_for(prompt, encoder.model, config.settings) for prompt in prompts]
    for place, (prompt, room) in enumerate(zip(prompts, rooms, strict=True)):
        if room == 0:
            raise ValueError(
                f"text {place + 1} takes {len(prompt.input_ids)} tokens; the model's context holds "
                f"{encoder.model.max_position_embeddings}, translation included"
            )
    translations = [""] * len(texts)
    for members in _batches([len(p.input_ids) for p in prompts], rooms, batch_size, encoder.model):
        batch = _Decoding([prompts[m] for m in members], [rooms[m] for m in members], encoder)
        for member, tokens in zip(members, batch.run(head), strict=True):
            translations[member] = encoder.text(tokens, prompts[member].slots)
    return translations


def _batches(
    lengths: list[int], rooms: list[int], batch_size: int, model: ModelConfig
) -> Iterator[list[int]]:
    """Places of texts of similar length, so many that the longest prompt and the longest room fit the context."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda each: (lengths[each], rooms[each])):
        room = max([rooms[place], *(rooms[member] for member in batch)])
        if batch and (len(batch) == batch_size or lengths[place] + room > model.max_position_embeddings):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


class _Decoding:
    """Prompts that are gone on with together, padded on the left so that all end at one place."""

    def __init__(self, prompts: list[Prompt], rooms: list[int], encoder: TranslationEncoder) -> None:
        self._end = encoder.end
        width = max(len(prompt.input_ids) for prompt in prompts)
        self._ids = torch.full((len(prompts), width), self._end)
        self._mask = torch.zeros((len(prompts), width), dtype=torch.bool)
        self._wanted = torch.zeros((len(prompts), len(encoder.spare)), dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            self._ids[row, -len(prompt.input_ids) :] = torch.tensor(prompt.input_ids)
            self._mask[row, -len(prompt.input_ids) :] = True
            for token, count in prompt.wanted().items():
                self._wanted[row, encoder.spare.index(token)] = count
        self._rooms, self._spare = torch.tensor(rooms), torch.tensor(encoder.spare, dtype=torch.int64)
        self._forbidden = ~encoder.choosable()

    @torch.inference_mode()
    def run(self, head: Translator) -> list[list[int]]:
        """Write until every row has ended; return what each has written, without the end token."""
        device = head.model.model.embed_tokens.weight.device
        room = int(self._rooms.max())
        cache = KeyValueCache(self._ids.shape[1] + room)
        padded = not bool(self._mask.all())
        unread, mask, written = self._ids, self._mask, []
        running = torch.ones(len(self._ids), dtype=torch.bool)
        for step in range(room):
            attention = mask.to(device) if padded else None
            hidden = head.model.model(unread.to(device), attention_mask=attention, cache=cache)[:, -1]
            token = self._choose(head.model.logits(hidden).float().cpu(), self._rooms - step)
            token = torch.where(running, token, self._end)
            written.append(token)
            running = running & (token != self._end) & (self._rooms > step + 1)
            if not running.any():
                break
            unread = token[:, None]
            mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        rows = torch.stack(written, dim=1).tolist()
        return [row[: row.index(self._end)] if self._end in row else row for row in rows]

    def _choose(self, scores: Tensor, left: Tensor) -> Tensor:
        """Pick (B,) tokens from scores (B, V), with room for `left` (B,) more each.

        Raises:
            ValueError: the scores are not finite.
        """
        if not torch.isfinite(scores).all():
            raise ValueError("the model returned scores that are not finite; its weights are damaged")
        slots = scores[:, self._spare].masked_fill(self._wanted == 0, -torch.inf)
        scores[:, self._forbidden] = -torch.inf
        scores[:, self._spare] = slots
        token = scores.argmax(dim=1)
        if len(self._spare):
            owed = self._wanted.sum(dim=1)
            now = (owed > 0) & ((token == self._end) | (left <= owed))
            token = torch.where(now, self._spare[slots.argmax(dim=1)], token)
            self._wanted -= (token[:, None] == self._spare).long()
        return token
