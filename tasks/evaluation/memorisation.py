"""What the model remembers word for word, in what it writes by itself and when it is led on.

Two questions. Of text it writes unprompted, how much stands in the training text, in spans of so many tokens?
And given the beginning of a training window, does it write down the rest (Carlini et al. 2023,
arXiv:2202.07646)? Held-out text answers both as well: people too repeat phrases that others wrote, and some
text can be guessed without having been read. Only what goes beyond that is memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.config import StageConfig
from tasks.evaluation.clustered import METHOD, Mean, clustered_mean, difference
from tasks.evaluation.comparison import MODEL
from tasks.evaluation.findings import Findings, Item
from tasks.evaluation.records import Record
from tasks.evaluation.span_index import SpanIndex
from tasks.evaluation.windows import TEST_TEXT, Windows, draw_windows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.shards import TokenShard
    from models.transformer import LanguageModel

SUITE = "memorisation"
VERBATIM, LONGEST, MEAN_LONGEST = "verbatim_share", "longest_verbatim_span", "mean_longest_verbatim_span"
EXTRACTED, RECALLED = "extraction_exact", "extraction_tokens"
SPAN_LENGTHS = (10, 20, 50)


class MemorisationConfig(StageConfig):
    """How the model is searched for text that it remembers."""

    generations: int = Field(64, ge=1, le=10_000, description="Texts that the model writes unprompted.")
    generation_tokens: int = Field(
        96, ge=1, le=10_000, description="Tokens of each at most; never more than the context holds."
    )
    temperature: float = Field(
        1.0, ge=0.0, le=10.0, description="Of these texts; 0 would write the same one again and again."
    )
    top_p: float = Field(0.9, gt=0.0, le=1.0, description="Of these texts: the smallest set to draw from.")
    windows: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Windows of the training text to lead the model on with, and as many held out.",
    )
    prefix_tokens: int = Field(32, ge=1, le=10_000, description="Tokens of a window that the model is given.")
    suffix_tokens: int = Field(32, ge=1, le=10_000, description="Tokens after these that it is to write.")
    index_tokens: int = Field(
        5_000_000,
        ge=0,
        description="Training tokens to search, in whole documents; 0 is all. About 80 bytes of memory each.",
    )
    spans_shown: int = Field(3, ge=0, le=100, description="Longest spans to show with their documents.")
    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="Drawings for a 95 % interval.")


class Recall(NamedTuple):
    """What became of the windows of one split."""

    exact: NDArray[np.float64]  # (n,) 1 where the whole suffix was written
    share: NDArray[np.float64]  # (n,) of the suffix's tokens that were written in their place
    windows: Windows


def examine_memorisation(
    model: LanguageModel,
    tokenizer: Tokenizer,
    training: TokenShard,
    held_out: TokenShard,
    config: MemorisationConfig,
    *,
    seed: int = 0,
    index: SpanIndex | None = None,
) -> Findings:
    """Search what a causal model writes for its training text.

    ``index`` saves building one anew; it must be of ``training``.
    """
    from models.generation import choosable_tokens

    findings = Findings()
    index = index or SpanIndex.of_shard(training, config.index_tokens, seed)
    allowed = choosable_tokens(tokenizer, model.config)
    texts = _write(model, allowed, config, seed)
    length = max((len(text) for text in texts), default=0)
    control = draw_windows(held_out, max(1, length), len(texts), seed) if length else None
    searched = f"{len(index):,} of {len(training):,} training tokens searched; {METHOD}"
    findings.add(_spans(texts, range(len(texts)), MODEL, index, config, seed, searched))
    if control is not None and len(control.rows):
        findings.add(_spans(control.tokens.tolist(), control.rows, TEST_TEXT, index, config, seed, searched))
    findings.shown["spans"] = _shown_spans(texts, index, tokenizer, config.spans_shown)
    _extraction(model, allowed, tokenizer, (training, held_out), config, seed, findings)
    return findings


def _write(model: LanguageModel, allowed: Any, config: MemorisationConfig, seed: int) -> list[list[int]]:
    """Texts written from nothing but the begin token, without their end token."""
    from models.batch_generation import continue_prompts

    start = model.config.bos_token_id
    if start is None:
        return []
    ends = set(model.config.eos_token_ids)
    texts = continue_prompts(
        model,
        [[start]] * config.generations,
        allowed,
        max_new_tokens=min(config.generation_tokens, model.config.max_position_embeddings - 1),
        temperature=config.temperature,
        top_p=config.top_p,
        seed=seed,
    )
    return [[token for token in text if token not in ends] for text in texts]


def _spans(
    texts: Sequence[Sequence[int]],
    clusters: Any,
    model: str,
    index: SpanIndex,
    config: MemorisationConfig,
    seed: int,
    method: str,
) -> Iterator[Record]:
    """How much of some texts stands in the training text, and the longest part that does."""
    matched = [index.match(text).lengths for text in texts]
    sizes = [len(text) for text in texts]
    if not sum(sizes):
        return
    options: dict[str, Any] = {"samples": config.bootstrap_samples, "seed": seed}
    for least in SPAN_LENGTHS:
        if least > max(sizes):
            continue  # no text is long enough to hold such a span
        covered = [covered_tokens(lengths, least) for lengths in matched]
        found = clustered_mean(covered, clusters, sizes=sizes, **options)
        if not sum(covered):
            found = Mean(0.0, 0.0, min(1.0, 3 / len(texts)), found.n)
        yield _record(VERBATIM, model, found, "share of tokens", method, condition=f"at_least_{least}")
    longest = [int(lengths.max(initial=0)) for lengths in matched]
    yield _record(
        MEAN_LONGEST,
        model,
        clustered_mean(longest, clusters, sizes=np.ones(len(longest)), **options),
        "tokens",
        method,
    )
    highest = Mean(float(max(longest)), None, None, len(longest))
    yield _record(
        LONGEST, model, highest, "tokens", f"longest of {len(longest)} texts of at most {max(sizes)}"
    )


def covered_tokens(lengths: NDArray[np.int64], least: int) -> int:
    """Tokens of a text that lie in a match of at least ``least`` tokens, given the match at each place, (n,)."""
    ends = np.where(lengths >= least, np.arange(len(lengths)) + lengths, 0)
    return int((np.maximum.accumulate(ends) > np.arange(len(lengths))).sum()) if len(ends) else 0


def _shown_spans(
    texts: Sequence[Sequence[int]], index: SpanIndex, tokenizer: Tokenizer, count: int
) -> list[dict[str, Any]]:
    """The longest different spans of all texts."""
    found = [(index.longest(text), text) for text in texts]
    found = sorted((each for each in found if each[0].length), key=lambda each: -each[0].length)
    shown: dict[str, dict[str, Any]] = {}
    for span, text in found:
        words = tokenizer.decode(list(text[span.start : span.start + span.length]), skip_special_tokens=False)
        before = tokenizer.decode(list(text[: span.start]), skip_special_tokens=False)
        if words not in shown and len(shown) < count:
            shown[words] = {
                "text": words,
                "before": before,
                "tokens": span.length,
                "document": span.document,
                "occurrences": span.occurrences,
            }
    return list(shown.values())


def _extraction(
    model: LanguageModel,
    allowed: Any,
    tokenizer: Tokenizer,
    shards: tuple[TokenShard, TokenShard],
    config: MemorisationConfig,
    seed: int,
    findings: Findings,
) -> None:
    """Lead the model on with windows of the training text and, as a control, of held-out text."""
    room = config.prefix_tokens + config.suffix_tokens
    if room > model.config.max_position_embeddings:
        findings.shown["extraction"] = f"windows of {room} tokens are longer than the model's context"
        return
    means: dict[str, dict[str, Mean]] = {}
    for shard in shards:
        recall = _recall(model, allowed, shard, config, seed)
        if not len(recall.exact):
            continue
        means[shard.split] = _means(recall, config, seed)
        findings.items += _items(recall, shard)
        if shard is shards[0]:
            findings.shown["extracted"] = _shown_windows(recall, shard, tokenizer, config)
    method = f"{config.prefix_tokens} tokens given, {config.suffix_tokens} written greedily; {METHOD}"
    for split, found in means.items():
        for metric, mean in found.items():
            findings.add([_record(metric, MODEL, mean, "share", method, split=split)])
    if len(means) == len(shards):
        seen, unseen = means.values()
        for metric in seen:
            gap = difference(seen[metric], unseen[metric])
            findings.add(
                [
                    _record(
                        f"{metric}_difference",
                        MODEL,
                        gap,
                        "share",
                        method,
                        baseline="held_out_text",
                        split="train",
                    )
                ]
            )


def _recall(
    model: LanguageModel, allowed: Any, shard: TokenShard, config: MemorisationConfig, seed: int
) -> Recall:
    from models.batch_generation import continue_prompts

    windows = draw_windows(shard, config.prefix_tokens + config.suffix_tokens, config.windows, seed)
    prefixes, suffixes = np.split(windows.tokens, [config.prefix_tokens], axis=1)
    written = continue_prompts(
        model, prefixes.tolist(), allowed, max_new_tokens=config.suffix_tokens, temperature=0.0
    )
    length = config.suffix_tokens
    padded = np.array([text + [-1] * (length - len(text)) for text in written], dtype=np.int64)
    equal = padded.reshape(-1, length) == suffixes
    return Recall(equal.all(axis=1).astype(np.float64), equal.mean(axis=1), windows)


def _means(recall: Recall, config: MemorisationConfig, seed: int) -> dict[str, Mean]:
    rows, samples = recall.windows.rows, config.bootstrap_samples
    return {
        EXTRACTED: clustered_mean(recall.exact, rows, samples=samples, seed=seed),
        RECALLED: clustered_mean(recall.share, rows, samples=samples, seed=seed),
    }


def _items(recall: Recall, shard: TokenShard) -> Iterator[Item]:
    names = [shard.documents.ids[row] for row in recall.windows.rows]
    for metric, values in ((EXTRACTED, recall.exact), (RECALLED, recall.share)):
        for number, (name, value) in enumerate(zip(names, values, strict=True)):
            yield Item(SUITE, metric, f"{shard.split}-{number}", name, MODEL, float(value))


def _shown_windows(
    recall: Recall, shard: TokenShard, tokenizer: Tokenizer, config: MemorisationConfig
) -> list[dict[str, Any]]:
    """The first windows whose whole suffix the model wrote."""
    shown = []
    for number in np.flatnonzero(recall.exact)[: config.spans_shown]:
        prefix, suffix = np.split(recall.windows.tokens[number], [config.prefix_tokens])
        shown.append(
            {
                "given": tokenizer.decode(prefix.tolist(), skip_special_tokens=False),
                "written": tokenizer.decode(suffix.tolist(), skip_special_tokens=False),
                "document": shard.documents.ids[recall.windows.rows[number]],
            }
        )
    return shown


def _record(metric: str, model: str, mean: Mean, unit: str, method: str, **more: Any) -> Record:
    return Record(suite=SUITE, metric=metric, model=model, unit=unit, method=method, **mean.fields(), **more)
