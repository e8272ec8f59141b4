"""How well software strings are translated, beside leaving them as they are and a translation memory.

A corpus score is no mean of sentence scores, but it is a function of sums over segments. So the sums' parts are
counted once for each segment, and every bootstrap drawing adds them up anew (Koehn 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tasks import tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, DataError
from tasks.evaluation.bootstrap import Floats, Interval, interval
from tasks.evaluation.comparison import DIFFERENCE, MODEL, with_differences
from tasks.evaluation.findings import Findings, Item
from tasks.evaluation.proportions import wilson
from tasks.evaluation.records import Record

if TYPE_CHECKING:
    from collections import Counter

    from tokenizers import Tokenizer

    from models.head_export import HeadConfig
    from models.heads import Translator

SUITE = "translation"
COPY, MEMORY = "copy", "nearest_neighbour"
CHRF = "chrf"
_SHARE = "share"
_SHOWN, _SHOWN_CHARACTERS, _SHOWN_STREAM = 12, 500, 2  # the last: of random numbers, beside the bootstrap's
_CELLS, _CHUNK = 1 << 21, 256  # drawn numbers in memory at a time; segments held against the whole memory


class Pairs(NamedTuple):
    """Segments of one split, in the order of the table."""

    ids: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """A corpus score: ``score`` of (..., S) sums of each translator's (segments, S) ``parts``."""

    name: str
    unit: str
    method: str
    parts: Mapping[str, Floats]  # by translator: the model first, then its baselines
    score: Callable[[Floats], Floats]


def examine_translation(model: Artifact, cleaning: Artifact, *, samples: int, seed: int) -> Findings:
    """Score a fine-tuned translator and its baselines on the test segments.

    Baselines: ``copy`` leaves the source as it is; ``nearest_neighbour`` is a translation memory, which gives
    the translation of the most similar training source. Segments that fill the model's context count as
    translated by nothing.

    Args:
        model: what fine-tuning wrote.
        cleaning: where the labelled rows are; the memory holds its training rows alone.
        samples: drawings of test segments for a bootstrap interval.
        seed: of all that is drawn.

    Raises:
        ArtifactError: the translator or the labelled rows cannot be read.
        DataError: a split has no row.
    """
    train, test = _pairs(cleaning, "train"), _pairs(cleaning, "test")
    hypotheses, too_long = _translate(model, test.sources)
    neighbours = nearest_neighbours(train.sources, test.sources)
    translations = {
        MODEL: hypotheses,
        COPY: list(test.sources),
        MEMORY: [train.targets[place] for place in neighbours],
    }
    measures = list(_measures(test, translations))
    found = Findings(shown={"too_long": too_long, "examples": _shown(test, translations, seed)})
    for measure in measures:
        found.add(_compare(measure, samples, seed))
    segment = measures[0]
    for name, parts in segment.parts.items():
        for identity, value in zip(test.ids, segment.score(parts), strict=True):
            found.items.append(Item(SUITE, CHRF, identity, identity, name, float(value)))
    return found


def _pairs(cleaning: Artifact, split: str) -> Pairs:
    path, columns = cleaning.file(f"labelled/{SUITE}.parquet"), ["id", "source_text", "target_text"]
    rows = [row for row in tables.iterate(path, [*columns, "split"]) if row["split"] == split]
    if not rows:
        raise DataError(f"the {split} split has no row", where=path, remedy="add labelled rows")
    return Pairs(*(tuple(str(row[name]) for row in rows) for name in columns))


def _translate(model: Artifact, sources: Sequence[str]) -> tuple[list[str], int]:
    """The model's translations, and how many sources left no room for one."""
    from models.translation import TranslationEncoder, room_for, translate

    head, config, tokenizer = _translator(model)
    encoder = TranslationEncoder(tokenizer, head.model.config)
    fits = [room_for(encoder.prompt(text), encoder.model, config.settings) > 0 for text in sources]
    fitting = [text for text, fit in zip(sources, fits, strict=True) if fit]
    translated = iter(translate(head, tokenizer, fitting, config=config))
    return [next(translated) if fit else "" for fit in fits], fits.count(False)


def _translator(model: Artifact) -> tuple[Translator, HeadConfig, Tokenizer]:
    from models.export import load_tokenizer
    from models.head_export import load_head
    from models.heads import Translator

    try:
        head, config = load_head(model.path)
        tokenizer = load_tokenizer(model.path)
    except ValueError as error:
        raise ArtifactError(str(error), stage=model.stage, remedy="run the fine-tuning again") from error
    if not isinstance(head, Translator):
        raise ArtifactError(
            f"holds a head for {config.task}, not a translator",
            stage=model.stage,
            where=model.path,
            remedy="give the folder of a translator",
        )
    return head, config, tokenizer


def nearest_neighbours(memory: Sequence[str], sources: Sequence[str]) -> list[int]:
    """Place of the most similar text of `memory` for each source; the first one on a tie.

    Similar by the cosine of TF-IDF over runs of 1 to 5 characters: of seven such settings the one with the
    best chrF2++ on the demo's validation segments.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(analyzer="char", ngram_range=(1, 5), sublinear_tf=True)
    known = vectoriser.fit_transform(memory).T.tocsr()
    asked = vectoriser.transform(sources)
    found: list[int] = []
    for start in range(0, len(sources), _CHUNK):
        similar = np.asarray((asked[start : start + _CHUNK] @ known).todense())
        found.extend(similar.round(9).argmax(axis=1).tolist())  # rounded: a tie is a tie on every machine
    return found


def _measures(test: Pairs, translations: Mapping[str, Sequence[str]]) -> Iterator[Measure]:
    from models.translation import placeholders

    yield from _sacrebleu(test.targets, translations)
    wanted = [placeholders(source) for source in test.sources]
    if any(wanted):
        kept = {name: _placeholder_parts(wanted, texts) for name, texts in translations.items()}
        yield Measure(
            "placeholder_survival",
            _SHARE,
            "placeholders of the sources that stand in the translations; the model's decoding enforces it",
            {name: parts[:, :2] for name, parts in kept.items()},
            _ratio,
        )
        yield Measure(
            "placeholder_equality",
            _SHARE,
            "of segments with placeholders: translations with the same ones as often; the model's decoding "
            "enforces it",
            {name: parts[:, 2:] for name, parts in kept.items()},
            _ratio,
        )
    exact = {
        name: np.array([(text == target, 1.0) for text, target in zip(texts, test.targets, strict=True)])
        for name, texts in translations.items()
    }
    yield Measure("exact_match", _SHARE, "translations equal to the reference", exact, _ratio)


def _placeholder_parts(wanted: Sequence[Counter[str]], texts: Sequence[str]) -> Floats:
    """For each segment: placeholders kept, and wanted; whether they are the same, of those that have any."""
    from models.translation import placeholders

    rows = []
    for source, text in zip(wanted, texts, strict=True):
        there, has = placeholders(text), bool(source)
        rows.append(((source & there).total(), source.total(), has and source == there, has))
    return np.array(rows, dtype=np.float64)


def _sacrebleu(references: Sequence[str], translations: Mapping[str, Sequence[str]]) -> Iterator[Measure]:
    """ChrF2++ (Popović 2017) and BLEU (Papineni et al. 2002), counted by sacreBLEU (Post 2018)."""
    from sacrebleu import metrics as sacre

    metrics = (
        (CHRF, "chrF2++", sacre.CHRF(word_order=2, references=[references]), chrf_of),
        ("bleu", "BLEU", sacre.BLEU(references=[references]), bleu_of),
    )
    for name, unit, metric, score in metrics:
        parts = {
            translator: np.array(metric._extract_corpus_statistics(list(texts), None), dtype=np.float64)
            for translator, texts in translations.items()
        }
        yield Measure(name, unit, str(metric.get_signature()), parts, score)


def chrf_of(sums: Floats) -> Floats:
    """ChrF2++ from (..., 24) sums: n-grams of hypothesis, reference and both, for each of 8 orders."""
    said, wanted, right = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counted = (said > 0) & (wanted > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = (np.where(counted, right, 0.0) / np.maximum(said, 1.0)).sum(axis=-1) / orders
    recall = (np.where(counted, right, 0.0) / np.maximum(wanted, 1.0)).sum(axis=-1) / orders
    below = 4.0 * precision + recall
    result: Floats = 100.0 * 5.0 * precision * recall / np.where(below > 0.0, below, 1.0)
    return result


def bleu_of(sums: Floats) -> Floats:
    """BLEU with exponential smoothing from (..., 10) sums: both lengths, matches and n-grams of 4 orders."""
    said, wanted, right, total = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    halvings = np.cumsum(right == 0.0, axis=-1)
    precision = np.where(right > 0.0, right, 0.5**halvings) / np.maximum(total, 1.0)
    brevity = np.exp(np.minimum(0.0, 1.0 - wanted / np.maximum(said, 1.0)))
    scored = (right > 0.0).any(axis=-1) & (total > 0.0).all(axis=-1)
    result: Floats = np.where(scored, 100.0 * brevity * np.exp(np.log(precision).mean(axis=-1)), 0.0)
    return result


def _ratio(sums: Floats) -> Floats:
    """Of sums (..., 2) the first by the second; no number where that is 0."""
    result: Floats = sums[..., 0] / np.where(sums[..., 1] > 0.0, sums[..., 1], np.nan)
    return result


def _compare(measure: Measure, samples: int, seed: int) -> Iterator[Record]:
    """Every translator's score, and the model's less each baseline's, on the same drawings."""
    parts = np.stack(list(measure.parts.values()), axis=1)
    segments, names = len(parts), list(measure.parts)
    values = with_differences(measure.score(parts.sum(axis=0)))
    drawn = with_differences(measure.score(_replicates(parts, samples, seed)))
    judged = int((parts[:, 0, 1] > 0.0).sum()) if measure.score is _ratio else segments
    for place, name in enumerate([*names, *names[1:]]):
        paired = place >= len(names)
        low, high = (None, None) if segments == 1 else _interval(drawn[:, place])
        how = "no interval: one segment" if segments == 1 else f"bootstrap over segments, {samples} draws"
        if measure.unit == _SHARE and not paired and measure.name != "placeholder_survival":
            (low, high), how = wilson(float(values[place]), judged), "Wilson interval"
        yield Record(
            suite=SUITE,
            metric=f"{measure.name}_{DIFFERENCE}" if paired else measure.name,
            model=MODEL if paired else name,
            baseline=name if paired else "",
            value=float(values[place]),
            low=low,
            high=high,
            n=judged,
            unit=measure.unit,
            method=f"{measure.method}; {'paired ' if paired else ''}{how}",
        )


def _replicates(parts: Floats, samples: int, seed: int) -> Floats:
    """(samples, translators, S) sums of ``parts`` (segments, translators, S) over drawings of segments."""
    generator, segments = np.random.default_rng(seed), len(parts)
    flat, step = parts.reshape(segments, -1), max(1, _CELLS // segments)
    rows: list[Floats] = []
    for start in range(0, samples, step):
        size = min(step, samples - start)
        drawn = generator.integers(segments, size=(size, segments)) + np.arange(size)[:, None] * segments
        times = np.bincount(drawn.ravel(), minlength=size * segments).reshape(size, segments)
        rows.append(times.astype(np.float64) @ flat)
    return np.concatenate(rows).reshape(samples, *parts.shape[1:])


def _interval(replicates: Floats) -> Interval | tuple[None, None]:
    """The middle 95 %; a drawing without any placeholder has no share and does not count."""
    there = replicates[~np.isnan(replicates)]
    return interval(there) if len(there) else (None, None)


def _shown(test: Pairs, translations: Mapping[str, Sequence[str]], seed: int) -> list[dict[str, Any]]:
    """A dozen segments, drawn blindly."""
    order = np.random.default_rng([_SHOWN_STREAM, seed]).permutation(len(test.ids))
    return [
        {
            "id": test.ids[place],
            "source": _shortened(test.sources[place]),
            "reference": _shortened(test.targets[place]),
            "hypothesis": _shortened(translations[MODEL][place]),
            "neighbour": _shortened(translations[MEMORY][place]),
        }
        for place in sorted(order[:_SHOWN].tolist())
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
