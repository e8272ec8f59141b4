"""Takes the text out of HTML pages and of wikitext. Runs in a child process: the parsers meet hostile input.

trafilatura hangs on some pages and crashes in threads (adbar/trafilatura#925), lxml is native code, and
neither can be interrupted from Python. So nothing here guards itself; `tasks.cleaning.pool` does.
"""

from __future__ import annotations

import re
from typing import Any


class ExtractionError(ValueError):
    """A document that is not what its format says."""


def extract(text: str, form: str) -> str:
    """The readable text of a document, empty when it has none.

    Args:
        text: the document.
        form: ``text`` (returned as it is), ``html`` or ``wikitext``.

    Raises:
        ExtractionError: the document cannot be parsed, or the format is unknown.
    """
    if form == "text":
        return text
    if form == "html":
        return from_html(text)
    if form == "wikitext":
        from tasks.cleaning.wikitext import prose

        return prose(text)
    raise ExtractionError(f"unknown format {form!r}")


def from_html(page: str) -> str:
    """Main text of a web page without navigation, comments and footers (trafilatura, Barbaresi 2021).

    `tasks.cleaning.markup` rewrites what trafilatura would lose: tables and lists of definitions come as lines. The
    tables that it leaves are navigation. ``fast`` skips the second and third extractor that trafilatura compares its
    own with: it saves a fifth of the time, and on pages of documentation the text is the same.

    Raises:
        ExtractionError: the page is no HTML.
    """
    from trafilatura import extract as main_text
    from trafilatura import load_html

    from tasks.cleaning.markup import simplify

    if not page.strip():
        return ""
    # A fragment is good HTML to every browser, but trafilatura takes it for something else.
    tree = load_html(page if _ROOT.search(page, 0, _HEAD) else f"<html><body>{page}</body></html>")
    if tree is None:
        raise ExtractionError("is no HTML page")
    _unwrap_lines(tree)
    simplify(tree)
    return main_text(tree, fast=True, include_comments=False, include_tables=False) or ""


_ROOT = re.compile(r"<(?:html|!doctype html)\b", re.IGNORECASE)
_HEAD = 5_000  # characters before which a page has its root element, if it has one
_SPACE = re.compile(r"[ \t\r\n\f]+")


def _unwrap_lines(tree: Any) -> None:
    """Make line breaks in the source spaces, as browsers do outside ``pre``; trafilatura would keep them."""
    preformatted = {element for block in tree.iter("pre", "textarea") for element in block.iter()}
    for element in tree.iter():
        inside = element in preformatted
        if element.text and not inside and isinstance(element.tag, str):
            element.text = _SPACE.sub(" ", element.text)
        if element.tail and (not inside or element.tag in ("pre", "textarea")):
            element.tail = _SPACE.sub(" ", element.tail)
