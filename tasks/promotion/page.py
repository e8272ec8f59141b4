"""The decision for people: Markdown for a terminal and a page for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tasks.promotion.decision import Decision, Reason
from tasks.reporting.safe_text import safe, visible

VERDICTS = {
    "promote": "The model may be the champion: every gate passed.",
    "refuse": "The model is refused: a gate failed.",
    "inconclusive": "Too unsure to decide: a person may, with `unveil promote --yes --why`.",
}
_HEADINGS = ("gate", "verdict", "difference", "low", "high", "threshold", "n")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.3rem .6rem;text-align:left}"
    ".pass{background:#dff3e0}.fail{background:#fbdcdc}.inconclusive{background:#fff2cc}"
)


def markdown(decision: Decision, against: str) -> str:
    """The decision as Markdown."""
    lines = [
        f"# Promotion: {decision.verdict}",
        "",
        VERDICTS[decision.verdict],
        "",
        f"Against: {safe(against)}.",
        "",
    ]
    lines += ["| " + " | ".join(_HEADINGS) + " |", "|" + " --- |" * len(_HEADINGS)]
    lines += ["| " + " | ".join(safe(cell) for cell in _cells(reason)) + " |" for reason in decision.reasons]
    lines += ["", *(f"- {safe(reason.sentence)}" for reason in decision.reasons)]
    return "\n".join(lines) + "\n"


def html(decision: Decision, against: str) -> str:
    """The decision as one page without scripts or links."""
    rows = "".join(
        f'<tr class="{reason.verdict}">{_row(_cells(reason), "td")}</tr>' for reason in decision.reasons
    )
    sentences = "".join(f"<li>{_shown(reason.sentence)}</li>" for reason in decision.reasons)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Promotion</title><style>{_STYLE}</style>'
        f"<h1>Promotion: {escape(decision.verdict)}</h1><p>{escape(VERDICTS[decision.verdict])}</p>"
        f"<p>Against: {_shown(against)}.</p>"
        f"<table><tr>{_row(_HEADINGS, 'th')}</tr>{rows}</table><ul>{sentences}</ul></html>\n"
    )


def _shown(text: str) -> str:
    return escape(visible(text))


def _cells(reason: Reason) -> list[str]:
    numbers = [_number(value) for value in (reason.value, reason.low, reason.high, reason.margin)]
    return [reason.gate, reason.verdict, *numbers, f"{reason.n:,}"]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _row(cells: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{_shown(cell)}</{tag}>" for cell in cells)
