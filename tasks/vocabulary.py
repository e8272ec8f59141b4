"""The tokenizer itself: a byte-level BPE whose special tokens no text can reach.

Text is cut before merging with the pattern of Qwen (the family of our architecture), which takes digits one
by one. Groups of up to three, as GPT-4 has them, would spend 1,110 entries on numbers: of a vocabulary of
100,000 that is nothing, of ours an eighth. Byte-pair encoding: Sennrich et al. 2016; on bytes: Radford et
al. 2019 (GPT-2).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import ArtifactError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Their places in this tuple are their ids, in every tokenizer this project makes.
SPECIAL_TOKENS = ("<|endoftext|>", "<|pad|>", "<|mask|>", "<|sep|>")
SEPARATOR = 0
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256
# Qwen2's pattern, letter for letter. No branch spans letters and the "|" after them, so no merge can spell a
# special token.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(
    texts: Iterable[str], *, vocab_size: int, min_frequency: int = 2, max_token_bytes: int = 32
) -> Tokenizer:
    """Learn a byte-level BPE; equal texts give an equal tokenizer, whatever their order or the threads.

    There is no normaliser and every byte has a token, so that decoding gives back the exact text.

    Args:
        texts: what to learn from; read once, as a stream.
        vocab_size: most entries, special tokens and the 256 bytes included; fewer when pairs run out.
        min_frequency: how often a pair must occur to be merged.
        max_token_bytes: no token is longer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        max_token_length=max_token_bytes,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json`` of this project, set so that text never becomes a special token.

    The setting is not stored in the file: whoever opens it otherwise (``transformers`` does) lets the text
    ``<|endoftext|>`` end a document.

    Raises:
        ArtifactError: the file is missing, truncated, or has not our special tokens at their fixed ids.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the Rust side raises plain Exception
        raise ArtifactError(
            f"cannot be read as a tokenizer ({error})", where=path, remedy="run again to have it rebuilt"
        ) from error
    special = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    if special != dict(enumerate(SPECIAL_TOKENS)):
        raise ArtifactError(
            f"its special tokens are not {', '.join(SPECIAL_TOKENS)} with ids 0 to {len(SPECIAL_TOKENS) - 1}",
            where=path,
            remedy="use a tokenizer that the tokenization stage made",
        )
    tokenizer.encode_special_tokens = True
    return tokenizer
