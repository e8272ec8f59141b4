"""One explained prediction as a page of its own: one file, no script, nothing fetched, readable on a phone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks.reporting.attribution_html import GREEN, RED, merged, readable, spans
from tasks.reporting.safe_text import cut, visible

_STRONGEST_SHOWN = 6
_LONGEST = 2_000
TEMPLATE = "explanation.html.j2"


@dataclass(frozen=True)
class Source:
    """A training document that is like the text."""

    id: str
    excerpt: str
    source: str
    licence: str


@dataclass(frozen=True)
class Explained:
    """Everything that the page, or the terminal, tells about one prediction."""

    task: str
    headline: str  # what was predicted
    probability: float
    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    unit: str  # of the scores
    checks: tuple[tuple[str, str], ...]
    alternatives_title: str = ""
    alternatives: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[Source, ...] = ()


def explanation_page(explained: Explained) -> str:
    """Write the page; every word of the text, the model and the documents is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = partial(plain, limit=_LONGEST)
    template = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        explained=explained, spans=spans, strongest=_strongest(explained), red=RED, green=GREEN
    )


def plain(text: str, limit: int) -> str:
    """Words of the data on one line: cut, and every character that is not a letter made visible."""
    return visible(cut(text, limit))


def _strongest(explained: Explained) -> list[tuple[str, float, str]]:
    """The tokens with the largest scores: what is written, the score, and the width of its bar in per cent."""
    joined = sorted(merged(explained.pieces, explained.scores), key=lambda each: -abs(each[1]))
    most = abs(joined[0][1]) if joined else 0.0
    return [
        (_written(piece), score, f"{100 * abs(score) / most:.1f}")
        for piece, score in joined[:_STRONGEST_SHOWN]
        if most
    ]


def _written(piece: str) -> str:
    """A token on one line; one that is nothing but white space is made plain."""
    word = readable(piece)
    return word.strip() or word.replace("\n", "⏎").replace(" ", "␣")
