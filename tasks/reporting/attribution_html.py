"""A text whose tokens are coloured by what they added to a prediction, as HTML that needs no style sheet.

Green speaks for the prediction, red against it; red also has a dotted line below it, for whoever does not see the
difference. The colours are translucent, so that they do on a light page and on a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.reporting.safe_text import visible

if TYPE_CHECKING:
    from markupsafe import Markup

GREEN, RED = "34 160 84", "224 62 62"
LEVELS = 9  # shades of each colour; below half of the first one a token stays plain
_STRONGEST = 0.68  # opacity: the text must stay readable


def spans(pieces: Sequence[str], scores: Sequence[float]) -> Markup:
    """The pieces in a row, escaped, each with its score as colour and tooltip.

    Line breaks stay; other control characters, and those that turn the direction of writing, become visible.
    The score of an empty piece (the rest of a character, a control token) counts with the piece before it.

    Raises:
        ValueError: there are not as many scores as pieces.
    """
    from markupsafe import Markup, escape

    joined = merged(pieces, scores)
    strongest = max((abs(score) for _, score in joined), default=0.0)
    parts = []
    for piece, score in joined:
        word = piece.lstrip(
            " "
        )  # the space before a word belongs to it, but where a line ends it would be a blot
        space, shown = (piece[: len(piece) - len(word)], word) if word else ("", piece)
        style = _style(level(score, strongest))
        parts.append(f'{space}<span style="{style}" title="{score:+.4f}">{escape(readable(shown))}</span>')
    return Markup(  # noqa: S704 - every piece is escaped, everything else is a number or ours
        f'<span style="white-space:pre-wrap;overflow-wrap:anywhere">{"".join(parts)}</span>'
    )


def merged(pieces: Sequence[str], scores: Sequence[float]) -> list[tuple[str, float]]:
    """Pieces with something to see and their scores; those without add theirs to the piece before."""
    found: list[tuple[str, float]] = []
    for piece, score in zip(pieces, scores, strict=True):
        if piece:
            found.append((piece, score))
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + score)
    return found


def level(score: float, strongest: float) -> int:
    """A shade from -LEVELS to LEVELS, in equal steps up to the strongest score of the text."""
    if not strongest or not math.isfinite(score):
        return 0
    return round(LEVELS * max(-1.0, min(1.0, score / strongest)))


def readable(piece: str) -> str:
    """A piece as a page or a terminal may show it: its line breaks, and nothing else that is not a letter."""
    return "\n".join(visible(line) for line in piece.split("\n"))


def _style(shade: int) -> str:
    if not shade:
        return "padding:.12em 0"
    colour = GREEN if shade > 0 else RED
    opacity = _STRONGEST * abs(shade) / LEVELS
    below = "" if shade > 0 else f";border-bottom:2px dotted rgb({RED})"
    return f"background:rgb({colour}/{opacity:.2f});border-radius:.2em;padding:.12em 0{below}"
