from __future__ import annotations

import pytest

from tasks.cleaning.extraction import ExtractionError, extract

PARAGRAPH = (
    "The lighthouse keeper climbed the stairs every evening\nbefore the sun went down, and lit the lamp that "
    "the boats looked for when they came home. He had done so for thirty years."
)
PAGE = f"""<!DOCTYPE html><html><head><title>Lamps</title><script>var hidden = 1;</script></head>
<body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/shop">Shop now</a></li></ul></nav>
<main><article><h1>The lamp<a class="headerlink" href="#lamp">¶</a></h1><p>{PARAGRAPH}</p>
<p>{PARAGRAPH[::-1]}</p>
<pre>first line
second line</pre><p>Then he went to bed &amp; slept. {PARAGRAPH}</p>
</article></main>
<footer>Copyright nobody</footer></body></html>"""
ARTICLE = """{{Infobox|name=Lamp|text={{nested|x}}}}
'''Lamp''' ({{IPA|x}}; from [[Greek language|Greek]]) is a [[light]].<ref name="a">Not prose</ref><ref/>
[[File:Lamp.jpg|thumb|A caption with a [[link]]]]
{| class="wikitable"
| cell
|}
* An [http://example.org item] &ndash; with an entity<!-- comment -->
== History ==
It is ''old''.
=== Detail ===
More text.
== See also ==
* [[Candle]]
=== Sub ===
hidden
== Legacy ==
It shines.
== References ==
{{reflist}}
[[Category:Lights]]
[[fr:Lampe]]
"""


def test_html_keeps_the_text_and_drops_the_furniture() -> None:
    text = extract(PAGE, "html")
    assert PARAGRAPH.replace("\n", " ") in text
    assert "Then he went to bed & slept." in text
    for furniture in ("Home", "Shop", "hidden", "Copyright", "¶"):
        assert furniture not in text


def test_html_line_breaks_survive_in_preformatted_text_only() -> None:
    assert "first line\nsecond line" in extract(PAGE, "html")


@pytest.mark.parametrize("page", ["", "   ", "<html></html>", "<html><body></body></html>"])
def test_a_page_without_text_is_empty_or_refused(page: str) -> None:
    try:
        assert extract(page, "html") == ""
    except ExtractionError as error:
        assert "no HTML" in str(error)


def test_a_fragment_is_a_page_too() -> None:
    assert extract(f"<p>{PARAGRAPH}</p>", "html") == PARAGRAPH.replace("\n", " ")


def test_wikitext_keeps_prose() -> None:
    text = extract(ARTICLE, "wikitext")
    assert "Lamp (from Greek) is a light." in text
    assert "An item – with an entity" in text
    assert "History\n\nIt is old." in text and "Detail\n\nMore text." in text
    assert "Legacy\n\nIt shines." in text


def test_wikitext_drops_what_is_no_prose() -> None:
    text = extract(ARTICLE, "wikitext")
    for gone in (
        "Infobox",
        "Not prose",
        "caption",
        "cell",
        "comment",
        "Candle",
        "hidden",
        "Category",
        "Lampe",
        "[[",
        "'''",
        "reflist",
    ):
        assert gone not in text, gone


def test_text_is_left_alone_and_an_unknown_format_is_refused() -> None:
    assert extract("<b>a</b>", "text") == "<b>a</b>"
    with pytest.raises(ExtractionError, match="unknown format 'pdf'"):
        extract("a", "pdf")
