"""What a data contract found, and how it is told: one line, Markdown or HTML, with data made harmless.

Great Expectations' own pages print data values unescaped and load scripts from other hosts, so they are not
published. These reports hold no script, no link and no address of another host.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.suites import Severity

HEADINGS = ("result", "severity", "expectation", "column", "rows at fault", "first rows", "detail", "meaning")
LONGEST_CELL = 500

# All that can open a tag, an entity, a link, emphasis, code or a table cell, or be taken for an address.
_MARKDOWN = {c: f"\\{c}" for c in "\\`*_[]()#!~:@"} | {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
    "|": "&#124;",
    "{": "&#123;",
    "}": "&#125;",
}
_STYLE = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}"
    ".failed{background:#fdd}.warned{background:#ffd}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class ExpectationResult(BaseModel):  # type: ignore[no-redef]  # pydantic.mypy trips over `kwargs`
    """What one expectation found. It holds ids and counts, never texts of the data."""

    model_config = ConfigDict(frozen=True)

    expectation: str
    column: str
    kwargs: dict[str, Any]
    severity: Severity
    description: str
    remedy: str
    success: bool
    checked: bool  # False when the expectation could not be evaluated, which is a critical failure
    unexpected_count: int | None
    unexpected_percent: float | None  # of all rows
    examples: tuple[str, ...]  # ids of the first rows at fault, or "row N" (from 1) where there is no id
    observed: str
    detail: str


class ContractResult(BaseModel):
    """What a suite found in a table, in the order of the suite file: the same on every rerun."""

    model_config = ConfigDict(frozen=True)

    suite: str
    rows: int
    success: bool  # no critical failure
    results: tuple[ExpectationResult, ...]

    def failures(self, severity: Severity) -> list[ExpectationResult]:
        """The failed expectations of one severity."""
        return [result for result in self.results if not result.success and result.severity == severity]


def describe(failure: ExpectationResult, rows: int) -> str:
    """One line on a failed expectation: which, on which column, for how many rows, and which rows first."""
    parts = [failure.expectation + (f" on {failure.column}" if failure.column else "") + " failed"]
    if failure.unexpected_count is not None:
        parts.append(f"for {failure.unexpected_count:,} of {rows:,} rows")
    elif failure.checked:
        parts.append(f"on a table of {rows:,} rows")
    if failure.examples:
        parts.append(f"(first: {', '.join(failure.examples)})")
    facts = [text for text in (failure.detail, failure.observed and f"observed {failure.observed}") if text]
    return " ".join(parts) + (f": {'; '.join(facts)}" if facts else "")


def to_markdown(result: ContractResult) -> str:
    """The result as a Markdown table; values of the data cannot open a tag, a link or another cell."""
    rows = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    rows += ["| " + " | ".join(_cells(entry, escape_markdown)) + " |" for entry in result.results]
    title = f"# Data contract {escape_markdown(result.suite)}: {_verdict(result)}"
    return "\n".join([title, "", escape_markdown(_counts(result)), "", *rows]) + "\n"


def to_html(result: ContractResult, appendix: str = "") -> str:
    """The result as one self-contained HTML page: no script, no link, and a policy that forbids both.

    Args:
        result: the verdict.
        appendix: more HTML for the end of the page, harmless already.
    """
    title = f"Data contract {escape_html(result.suite)}: {_verdict(result)}"
    head = "".join(f"<th>{name}</th>" for name in HEADINGS)
    body = "\n".join(_html_row(entry) for entry in result.results)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f"<p>{escape_html(_counts(result))}</p>\n<table>\n<tr>{head}</tr>\n{body}\n</table>\n{appendix}</body>\n</html>\n"
    )


def escape_markdown(text: str) -> str:
    """Text as it reads, in a form no Markdown renderer takes for markup or for an address."""
    escaped = "".join(_MARKDOWN.get(c, c) for c in visible(text))
    return escaped.replace("www.", "www\\.").replace("WWW.", "WWW\\.")


def escape_html(text: str) -> str:
    """Text as it reads, for an element's content or a quoted attribute."""
    return html.escape(visible(text), quote=True)


def visible(text: str, limit: int = LONGEST_CELL) -> str:
    """Cut text and show control, format (bidirectional) and unassigned characters as U+XXXX."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(f"U+{ord(c):04X}" if unicodedata.category(c)[0] in "CZ" and c != " " else c for c in cut)


def _html_row(entry: ExpectationResult) -> str:
    style = "" if entry.success else ' class="failed"' if entry.severity == "critical" else ' class="warned"'
    cells = "".join(f"<td>{cell}</td>" for cell in _cells(entry, escape_html))
    return f"<tr{style}>{cells}</tr>"


def _cells(entry: ExpectationResult, escape: Callable[[str], str]) -> Iterator[str]:
    observed = f"observed {entry.observed}" if entry.observed else ""
    count = "" if entry.unexpected_count is None else f"{entry.unexpected_count:,}"
    share = f" ({entry.unexpected_percent:g} %)" if entry.unexpected_percent else ""
    yield "passed" if entry.success else "failed"
    yield entry.severity
    yield escape(entry.expectation)
    yield escape(entry.column)
    yield count + share
    yield escape(", ".join(entry.examples))
    yield escape("; ".join(part for part in (entry.detail, observed) if part))
    yield escape(entry.description)


def _verdict(result: ContractResult) -> str:
    return "passed" if result.success else "failed"


def _counts(result: ContractResult) -> str:
    met = sum(entry.success for entry in result.results)
    return f"{met} of {len(result.results)} expectations met by {result.rows:,} rows."
