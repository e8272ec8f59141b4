"""What must and must not be in the text of a page, by the markup it is in. All pages are ours."""

from __future__ import annotations

import random
import time

import pytest

from tasks.cleaning.extraction import extract
from tasks.cleaning.pii import KINDS
from tasks.cleaning.standardisation import standardise
from tasks.cleaning.worker import prepare

STORY = (
    "The lighthouse keeper climbed the stairs every evening before the sun went down, and lit the lamp that the "
    "boats looked for when they came home. He had done so for thirty years, in fog and in snow."
)
END = "When he was old his daughter climbed the stairs, and the boats came home as they had before."


def read(body: str, around: str = "article") -> list[str]:
    """The lines of a page with a story, the body in question, and an end."""
    inner = f"<h1>Lamps</h1><p>{STORY}</p>{body}<p>{END}</p>"
    page = f"<!DOCTYPE html><html><body><{around}>{inner}</{around}></body></html>"
    lines = extract(page, "html").split("\n")
    assert lines[0] == "Lamps" and STORY in lines and END in lines
    return [line.strip() for line in lines if line not in ("Lamps", STORY, END)]


def test_terms_and_definitions_come_line_by_line() -> None:
    body = (
        "<dl><dt><a href='/oil'>Oil</a></dt><dd>burns <b>long</b> and well</dd>"
        "<dt>Wick</dt><dd><p>draws it.</p></dd></dl>"
    )
    assert read(body) == ["Oil", "burns long and well", "Wick", "draws it."]


def test_definitions_in_groups_and_terms_with_several_definitions() -> None:
    body = "<dl><div><dt>Lamp</dt><dt>Light</dt><dd>What shines.</dd><dd>What is lit.</dd></div></dl>"
    assert read(body) == ["Lamp", "Light", "What shines.", "What is lit."]


def test_definitions_in_a_list_keep_their_order_and_their_code() -> None:
    body = (
        "<ul><li>First what is needed<dl><dt>Oil</dt><dd>a jug of it<pre>fill(jug)\n  wait(1)</pre></dd></dl>"
        "and a cloth</li><li>Then a match</li></ul>"
    )
    lines = [
        "- First what is needed",
        "Oil",
        "a jug of it",
        "fill(jug)",
        "wait(1)",
        "and a cloth",
        "- Then a match",
    ]
    assert read(body) == lines


def test_a_flat_list_stays_a_list() -> None:
    assert read("<ul><li>an <i>oil</i> lamp</li><li>a wick</li></ul>") == ["- an oil lamp", "- a wick"]


def test_loose_words_in_definitions_are_kept_with_their_links() -> None:
    body = (
        "<dl><dt>line(surface)</dt><dd><div><div class='line'>draws a <a href='#l'>line</a></div></div>"
        "<ul><li>surface (<a href='/s'>Surface</a>)</li><li>start (<a href='/i'>int</a>)</li></ul></dd></dl>"
    )
    assert read(body) == ["line(surface)", "draws a line", "- surface (Surface)", "- start (int)"]


def test_a_row_is_a_line_and_the_header_stands_above_it() -> None:
    body = (
        "<table><caption>Lamps by range</caption>"
        "<thead><tr><th>Name</th><th>Range</th><th>Note</th></tr></thead><tbody>"
        "<tr><td><p>Old <b>Tom</b></p></td><td>5<br>miles</td><td><a href='/x'>dark</a></td></tr>"
        "<tr><td>New</td><td></td><td>bright</td></tr><tr><td>Last</td><td>2 miles</td><td></td></tr>"
        "<tr><td></td><td> </td></tr></tbody></table>"
    )
    rows = ["Name | Range | Note", "Old Tom | 5 miles | dark", "New | | bright", "Last | 2 miles"]
    assert read(body) == ["Lamps by range", *rows]


def test_cells_with_blocks_follow_one_another_as_in_tables_for_layout() -> None:
    links = "<br>".join(f"<a href='/{n}'>Page number {n}</a>" for n in range(9))
    body = (
        f"<table><tr><td>{links}</td><td>Loose words here.<p>The keeper wrote it down.</p>"
        "<pre>log = 1\n  write(log)</pre></td></tr></table>"
    )
    assert read(body) == ["Loose words here.", "The keeper wrote it down.", "log = 1", "write(log)"]


def test_tables_in_tables_are_told_once_and_in_order() -> None:
    body = "<table><tr><td>Before<table><tr><td>a</td><td>b</td></tr></table>After</td></tr></table>"
    assert read(body) == ["Before", "a | b", "After"]


def test_cells_with_hidden_words_or_scripts_do_not_tell_them() -> None:
    body = (
        "<table><tr><td>Tom<script>var secret = 1;</script></td><td><p>seen</p></td></tr>"
        "<tr><td><span style='display: none'>00017</span>17</td></tr></table>"
    )
    text = "\n".join(read(body))
    assert "Tom" in text and "seen" in text and "secret" not in text and "00017" not in text


@pytest.mark.parametrize(
    "navigation",
    [
        "<table><tr><td><a href='/'>Home</a></td><td><a href='/shop'>Shop now</a></td></tr></table>",
        "<dl class='menu'><dt><a href='/'>Home</a></dt><dd><a href='/shop'>Shop now</a></dd></dl>",
        "<ul><li><a href='/'>Home page of the shop</a><pre>1</pre></li><li><a href='/shop'>Shop now</a></li></ul>",
        "<nav><dl><dt>Home</dt><dd>Shop now</dd></dl></nav>",
        "<footer><table><tr><td>Home</td><td>Shop now</td></tr></table></footer>",
        "<div class='sidebar'><table><tr><td>Home</td><td>Shop now</td></tr></table></div>",
    ],
)
def test_navigation_is_left_out_whatever_it_is_made_of(navigation: str) -> None:
    text = "\n".join(read(navigation))
    assert "Home" not in text and "Shop" not in text


@pytest.mark.parametrize("topic", ["menus", "editing-and-navigation", "sharing-tags", "cookies", "related"])
def test_an_id_that_its_own_heading_links_to_tells_a_topic(topic: str) -> None:
    heading = f"<h2>The topic<a class='headerlink' href='#{topic}'>¶</a></h2>"
    body = f"<section id='{topic}'>{heading}<p>It is told here.</p></section>"
    assert read(body, "main") == ["The topic", "It is told here."]


def test_an_id_without_such_a_link_still_tells_a_part_of_the_page() -> None:
    body = "<a href='#related'>Skip</a><div id='related'><h2>Related</h2><p>Buy another lamp today.</p></div>"
    assert "Buy another lamp today." not in read(body, "main")


def test_signs_that_link_to_headings_are_no_words() -> None:
    body = (
        "<h2 id='oil'>Oil <a href='#oil'>¶</a></h2><ul><li>jug<a href='#jug'>¶</a> - of clay</li></ul>"
        "<p>Now [<a href='#n1'>1</a>].</p>"
    )
    assert read(body) == ["Oil", "- jug - of clay", "Now [1]."]


def test_code_in_lists_and_figures_keeps_its_lines() -> None:
    body = (
        "<ol><li>Fill it:<pre>fill(jug)\n  wait(1)</pre></li></ol>"
        "<figure><pre><code>light(lamp)\n  burn()</code></pre><figcaption>Listing 1</figcaption></figure>"
    )
    assert read(body)[:5] == ["- Fill it:", "fill(jug)", "wait(1)", "light(lamp)", "burn()"]


def test_a_picture_with_its_caption_is_left_out() -> None:
    assert read("<figure><img src='x'><figcaption>A lamp</figcaption></figure>") == []


def test_unclosed_tags_lose_nothing() -> None:
    body = "<dl><dt>Oil<dd>burns<dt>Wick<dd>draws<table><tr><td>a<td>b<tr><td>c<td>d</table>"
    page = f"<html><body><article><p>{STORY}{body}<p>{END}"
    assert extract(page, "html").split("\n") == [
        STORY,
        "Oil",
        "burns",
        "Wick",
        "draws",
        "a | b",
        "c | d",
        END,
    ]


def test_what_is_prepared_stays_as_it_is() -> None:
    body = (
        "<table><tr><th>Name</th><th></th><th>Range</th></tr>"
        "<tr><td>| Tom</td><td></td><td>5 &amp;amp; more</td></tr></table>"
        "<ul><li><pre>a  =  1\n\tb</pre></li><li></li></ul><dl><dt></dt><dd> - </dd></dl>"
    )
    first = prepare(
        f"<html><body><article><p>{STORY}</p>{body}<p>{END}</p></article></body></html>", "html", KINDS
    )
    assert "Name | | Range" in first["text"]
    assert prepare(first["text"], "text", KINDS)["text"] == first["text"]


def test_any_nesting_gives_a_text_and_the_same_again() -> None:
    generator = random.Random(5)
    tags = [
        "dl",
        "dt",
        "dd",
        "ul",
        "li",
        "table",
        "tr",
        "td",
        "th",
        "p",
        "pre",
        "a href='#x'",
        "div id='x'",
        "figure",
        "b",
    ]
    for _ in range(80):
        parts = (f"<{'/' * (generator.random() < 0.4)}{generator.choice(tags)}> w{n} " for n in range(60))
        page = f"<html><body><article><p>{STORY}</p>{''.join(parts)}"
        text = extract(page, "html")
        assert STORY in text and extract(page, "html") == text
        assert standardise(standardise(text)) == standardise(text)


@pytest.mark.parametrize(
    "part",
    [
        "<dt>a<dd>b",
        "<tr><td>a<td>b",
        "<li><pre>y</pre>",
        "<td>a<td><p>b",
        "<a href='#x'>l</a>",
        "<dl><dt>a</dl>",
    ],
)
def test_a_large_page_takes_seconds(part: str) -> None:
    """Linear work on 30,000 parts takes about a second of the processor, quadratic work many minutes."""
    from trafilatura import load_html

    from tasks.cleaning.markup import simplify

    tree = load_html(f"<html><body><div id='x'>{'<div>' * 200}<dl><ul><table><tr>{part * 30_000}")
    started = time.process_time()
    simplify(tree)
    assert time.process_time() - started < 30
