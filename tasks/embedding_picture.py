"""A map of the corpus' words: words used alike lie together, coloured by the domain they are typical of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SHARED = "several domains"
SHARED_COLOUR = "#8a8a8a"
# Okabe and Ito's colours, told apart by colour-blind readers, without the yellow that white paper swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
SHORTEST_WORD = 4
FEWEST_FOR_TSNE = 10
# Room around a label, in pixels.
_MARGIN = (12.0, 5.0)
_ROUNDS = 400


def draw(
    path: Path,
    words: Sequence[str],
    units: NDArray[np.float64],
    by_domain: Mapping[str, Counter[str]],
    limit: int,
    seed: int,
) -> None:
    """Write the picture as a PNG, the same bytes for the same vectors.

    Args:
        path: where to write.
        words: the vocabulary, most frequent first.
        units: their vectors [words, dimensions], of length 1.
        by_domain: how often each word occurs in each domain.
        limit: most words to show.
        seed: seed of the projection.
    """
    groups = typical_domains(words, by_domain)
    chosen = choose_words(words, groups, limit)
    places = {word: place for place, word in enumerate(words)}
    points = project(units[[places[word] for word in chosen]], seed)
    _render(path, chosen, points, [groups[word] for word in chosen], len(words))


def typical_domains(words: Sequence[str], by_domain: Mapping[str, Counter[str]]) -> dict[str, str]:
    """For each word the domain that uses it at least twice as often as every other, else ``SHARED``.

    How often is per running word of the domain, so that a large domain does not win by its size.
    """
    totals = {name: max(counts.total(), 1) for name, counts in by_domain.items()}
    result = {}
    for word in words:
        rates = sorted(
            ((counts[word] / totals[name], name) for name, counts in by_domain.items()), reverse=True
        )
        shared = len(rates) > 1 and rates[0][0] < 2 * rates[1][0]
        result[word] = SHARED if shared else rates[0][1]
    return result


def choose_words(words: Sequence[str], groups: Mapping[str, str], limit: int) -> list[str]:
    """The most frequent content words, each group's in turn: no domain is to fill the picture."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    content = [word for word in words if len(word) >= SHORTEST_WORD and word not in ENGLISH_STOP_WORDS]
    content = [word for word in content if _drawable(word)] or [word for word in words if _drawable(word)]
    seen: Counter[str] = Counter()
    turns = []
    for rank, word in enumerate(content):
        turns.append((seen[groups[word]], rank, word))
        seen[groups[word]] += 1
    return [word for _, _, word in sorted(turns)[:limit]]


def project(units: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Positions [words, 2] by t-SNE on cosines (van der Maaten and Hinton 2008), or plain PCA for a handful.

    Single-threaded, because the order of additions decides where t-SNE ends.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    count = len(units)
    with threadpool_limits(1):
        if count < FEWEST_FOR_TSNE:
            return _principal_plane(units)
        projection = TSNE(
            metric="cosine",
            init="pca",
            method="exact",
            perplexity=min(15.0, (count - 1) / 3),
            random_state=seed,
        )
        return np.asarray(projection.fit_transform(units - units.mean(axis=0)), dtype=np.float64)


def _principal_plane(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two directions of largest spread; zeros where there are fewer."""
    plane = np.zeros((len(units), 2))
    if len(units):
        left, sizes, _ = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
        plane[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    return plane


def spread(centres: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Push boxes apart until none overlap (or 400 rounds are over), each as little as possible.

    Args:
        centres: of the boxes [boxes, 2].
        sizes: their widths and heights [boxes, 2].
    """
    moved = centres.copy()
    room = (sizes[:, None] + sizes[None]) / 2
    # Boxes in the very same place need an order to part in; their numbers give it.
    order = np.sign(np.subtract.outer(np.arange(len(moved)), np.arange(len(moved))))
    for _ in range(_ROUNDS):
        apart = moved[:, None] - moved[None]
        overlap = room - np.abs(apart)
        clash = (overlap > 0).all(axis=2) & (order != 0)
        if not clash.any():
            break
        sideways = overlap[..., 0] < overlap[..., 1]
        way = np.where(apart == 0, order[..., None], np.sign(apart))
        push = np.where(clash[..., None], way * overlap / 2, 0.0)
        push[..., 0] *= sideways
        push[..., 1] *= ~sideways
        moved += 0.6 * push.sum(axis=1)
    return moved


def _drawable(word: str) -> bool:
    """Whether the font that comes with matplotlib has every letter (it has no Chinese, for one)."""
    return all(ord(letter) in _letters() for letter in word)


_LETTERS: set[int] = set()


def _letters() -> set[int]:
    if not _LETTERS:
        from matplotlib.font_manager import FontProperties, findfont, get_font

        _LETTERS.update(get_font(findfont(FontProperties(family=["DejaVu Sans"]))).get_charmap())
    return _LETTERS


def _render(
    path: Path, words: Sequence[str], points: NDArray[np.float64], groups: Sequence[str], vocabulary: int
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 10), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.06, 0.96, 0.84))
    axes.set_axis_off()
    figure.text(
        0.03, 0.955, "Words of the corpus, by the company they keep", size=18, weight="bold", color="#222222"
    )
    subtitle = (
        f"{len(words)} frequent words of {vocabulary:,}; near means used alike (flattened skip-gram). "
        "Colour: the domain that uses a word at least twice as often as any other."
    )
    figure.text(0.03, 0.928, subtitle, size=10.5, color="#555555")
    if words:
        colours = _colours(groups)
        _place_labels(figure, axes, words, points, [colours[group] for group in groups])
        _legend(figure, colours)
    figure.savefig(path, format="png", metadata={"Software": None})


def _colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each group, by name; beyond seven domains colours repeat."""
    names = sorted(set(groups) - {SHARED})
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    return colours | ({SHARED: SHARED_COLOUR} if SHARED in groups else {})


def _place_labels(
    figure: Figure, axes: Axes, words: Sequence[str], points: NDArray[np.float64], colours: Sequence[str]
) -> None:
    """Write every word at its point, moved just enough that none covers another."""
    low, high = points.min(axis=0), points.max(axis=0)
    box = np.array([axes.bbox.width, axes.bbox.height])
    pixels = (points - low) / np.where(high > low, high - low, 1.0) * box
    axes.set_xlim(0, box[0])
    axes.set_ylim(0, box[1])
    labels: list[Text] = [
        axes.text(x, y, word, size=10.5, color=colour, ha="center", va="center", family="DejaVu Sans")
        for word, (x, y), colour in zip(words, pixels, colours, strict=True)
    ]
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    extents = [label.get_window_extent(renderer) for label in labels]
    sizes = np.array([[extent.width, extent.height] for extent in extents]) + np.array(_MARGIN)
    placed = spread(pixels, sizes)
    for label, (x, y) in zip(labels, placed, strict=True):
        label.set_position((x, y))
    low, high = (placed - sizes / 2).min(axis=0), (placed + sizes / 2).max(axis=0)
    axes.set_xlim(min(low[0], 0), max(high[0], box[0]))
    axes.set_ylim(min(low[1], 0), max(high[1], box[1]))


def _legend(figure: Figure, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in colours.items()
    ]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.02, 0.005), ncols=7, frameon=False, fontsize=11
    )
