"""The report as one HTML page that needs nothing beside it: no network, no script, no file.

Rendered with autoescape from the sections that also make the Markdown. The pictures are inside as data, and the
page's own policy forbids everything else, should an escape ever fail.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.reporting.blocks import Bounds, Cell, Marked, Picture, Table, plain
from tasks.reporting.inline import to_html
from tasks.reporting.page import Section
from tasks.reporting.safe_text import LONGEST, cut, visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

PAGE, STYLE = "report.html.j2", "report.css.j2"
WIDTH = 120.0  # of a drawn interval, in its own units
_MARGIN = 5.0
_REACH = 3.0  # of a scale to either side, in widths of the widest interval


@dataclass(frozen=True)
class Whisker:
    """Places on a line of `WIDTH`, as they are written into the drawing."""

    low: str
    high: str
    value: str
    mark: str | None
    beyond: str  # left or right where the value lies off the scale, else nothing


def web_page(title: str, brief: str, sections: Sequence[Section], folder: Path) -> str:
    """The whole page. Pictures are read from ``folder``.

    ``brief`` is a line of running text; ``title`` is plain.
    """
    template = _environment(folder).get_template(PAGE)
    return template.render(title=title, brief=brief, sections=sections)


def templates() -> dict[str, str]:
    """The text of the templates: the page depends on them as on code."""
    here = Path(__file__).parent
    return {name: (here / name).read_text(encoding="utf-8") for name in (PAGE, STYLE)}


def _environment(folder: Path) -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader(templates()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: Mapping[str, Any] = {
        "shown": shown,
        "inline": to_html,
        "columns": lambda table: [whiskers(table, column) for column in range(len(table.headings))],
        "spans": _spans,
        "data_uri": lambda picture: _data_uri(folder, picture),
    }
    environment.filters.update(filters)
    return environment


def shown(value: Cell) -> str:
    """A cell's text, as Markdown shows it, before it is escaped."""
    return visible(cut(plain(value), LONGEST)) or " "


def whiskers(table: Table, column: int) -> dict[int, Whisker]:
    """The drawn intervals of one column, by row; those of one measure are on one scale."""
    cells = {at: row[column] for at, row in enumerate(table.rows)}
    found = {at: each for at, each in cells.items() if isinstance(each, Bounds)}
    names = {each.scale for each in found.values()}
    ends = {name: _ends([each for each in found.values() if each.scale == name]) for name in names}
    return {at: _whisker(each, *ends[each.scale]) for at, each in found.items()}


def _ends(bounds: Sequence[Bounds]) -> tuple[float, float]:
    """Both ends of the scale: next to one far away, all others would look alike, so it may lie beyond."""
    ends = [end for each in bounds for end in (each.low, each.high, each.value, each.mark) if end is not None]
    centre = bounds[0].value if bounds[0].mark is None else bounds[0].mark
    reach = _REACH * max(each.high - each.low for each in bounds)
    low, high = max(min(ends), centre - reach), min(max(ends), centre + reach)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _whisker(bounds: Bounds, low: float, high: float) -> Whisker:
    def place(number: float) -> str:
        share = (min(max(number, low), high) - low) / (high - low)
        return f"{_MARGIN + (WIDTH - 2 * _MARGIN) * share:.1f}"

    beyond = "left" if bounds.value < low else "right" if bounds.value > high else ""
    mark = None if bounds.mark is None else place(bounds.mark)
    return Whisker(place(bounds.low), place(bounds.high), place(bounds.value), mark, beyond)


def _spans(marked: Marked) -> Markup:
    from tasks.reporting.attribution_html import spans

    return spans(marked.pieces, marked.scores)


def _data_uri(folder: Path, picture: Picture) -> str:
    data = base64.b64encode((folder / picture.name).read_bytes()).decode("ascii")
    return f"data:image/png;base64,{data}"
