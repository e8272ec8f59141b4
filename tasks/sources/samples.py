"""Self-written documents and labelled rows for a first run without network: small worlds told by a grammar.

The texts vary enough that de-duplication keeps them, and regular enough that a tiny model learns something in
seconds. A few documents are bad on purpose (copies, noise, another language, a page that is all navigation),
so that every part of cleaning has something to find. They are no benchmark.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from random import Random

from tasks.sources import sample_rows
from tasks.sources import sample_words as words
from tasks.sources.config import SamplesSource
from tasks.sources.labelled_config import LabelledSamples
from tasks.sources.outcomes import Kept, Outcomes

DOMAINS = ("books", "articles", "web", "social")
_COPY_EVERY, _DIRTY_EVERY = 37, 25  # neither shares a factor with the four domains
_SENTENCES = (12, 22)


def documents(source: SamplesSource) -> Outcomes:
    """As many documents as asked for, the four domains in turn, the same for the same seed."""
    written: list[str] = []
    for number in range(source.documents):
        domain = DOMAINS[number % len(DOMAINS)]
        rng = Random(f"{source.seed}:{number}")
        text = _WRITERS[domain](rng)
        if number % _DIRTY_EVERY == _DIRTY_EVERY - 1:
            text = _DIRT[number // _DIRTY_EVERY % len(_DIRT)](rng, text)
        elif number % _COPY_EVERY == _COPY_EVERY - 1:
            text = written[number - len(DOMAINS) * rng.randint(1, 8)]
        written.append(text)
        values = {"text": text, "format": "html" if domain == "web" else "text", "domain": domain}
        yield Kept(f"samples:{domain}/{number}", values)


def labelled(task: str, source: LabelledSamples) -> Outcomes:
    """Rows for one task, the same for the same seed."""
    for number, values in enumerate(sample_rows.WRITERS[task](source.rows, source.seed)):
        yield Kept(f"samples:{task}/{number}", values)


def _book(rng: Random) -> str:
    hero, friend = rng.sample(words.PEOPLE, 2)
    town, trade, thing = rng.choice(words.TOWNS), rng.choice(words.TRADES), rng.choice(words.THINGS)
    opening = f"{hero} was a {trade} in {town}, and {rng.choice(words.WEATHER)} on the day it began."
    sentences = [opening]
    for _ in range(rng.randint(*_SENTENCES)):
        who = rng.choice((hero, friend, hero.split()[0], f"the {rng.choice(words.TRADES)}"))
        sentences.append(_scene(rng, who, thing))
    sentences.append(
        f"In the end {friend} gave the {thing} to {hero.split()[0]}, {rng.choice(words.THOUGHTS)}."
    )
    return _paragraphs(rng, sentences)


def _scene(rng: Random, who: str, thing: str) -> str:
    thing = rng.choice((thing, rng.choice(words.THINGS)))
    place, thought = rng.choice(words.PLACES), rng.choice(words.THOUGHTS)
    forms = (
        f"{who} {rng.choice(words.DEEDS)} the {thing} at {place}, {thought}.",
        f'"{rng.choice(words.SAYINGS)}," said {who}, and walked towards {place}.',
        f"Outside {place} {rng.choice(words.WEATHER)}, {thought}.",
        f'At {place}, {who} stopped. "{rng.choice(words.SAYINGS)}."',
        f"{who} {rng.choice(words.DEEDS)} a {thing} and a sack of {rng.choice(words.GOODS)}, {thought}.",
        f"Between {place} and {rng.choice(words.PLACES)} {who} {rng.choice(words.DEEDS)} the {thing}.",
    )
    sentence = rng.choice(forms)
    return sentence[0].upper() + sentence[1:]


def _article(rng: Random) -> str:
    town, other = rng.sample(words.TOWNS, 2)
    river, founder = rng.choice(words.RIVERS), rng.choice(words.PEOPLE)
    year = rng.randint(1100, 1890)
    sentences = [
        f"{town} is a town on the river {river}, about {rng.randint(4, 90)} kilometres from {other}.",
        f"It was founded in {year} by the {rng.choice(words.TRADES)} {founder}.",
        f"In the last census it had {rng.randint(9, 980) * 100} inhabitants.",
        f"The town lives from {rng.choice(words.GOODS)}, {rng.choice(words.GOODS)} and visitors.",
        f"It has {rng.choice(words.FEATURES)} and {rng.choice(words.FEATURES)}.",
    ]
    for event in rng.sample(words.EVENTS, rng.randint(4, 7)):
        year += rng.randint(3, 60)
        witness = f"as the {rng.choice(words.TRADES)} {rng.choice(words.PEOPLE)} wrote in a letter"
        reason = f"which made {rng.choice(words.GOODS)} dearer in {rng.choice(words.TOWNS)}"
        sentences.append(f"In {year} {event}, {rng.choice((witness, reason))}.")
    sentences += [_trade(rng, town) for _ in range(rng.randint(4, 9))]
    return _paragraphs(rng, sentences)


def _trade(rng: Random, town: str) -> str:
    goods, place = rng.choice(words.GOODS), rng.choice(words.PLACES)
    return rng.choice(
        (
            f"Every {rng.choice(('spring', 'summer', 'autumn', 'winter'))} {goods} is sold at {place}.",
            f"The {rng.choice(words.TRADES)}s of {town} meet at {place} to settle the price of {goods}.",
            f"Boats bring {goods} from {rng.choice(words.TOWNS)} and take {rng.choice(words.GOODS)} back.",
            f"{rng.choice(words.PEOPLE)}, a {rng.choice(words.TRADES)}, was born near {place}.",
            f"A {rng.choice(words.THINGS)} found at {place} is in the museum of {rng.choice(words.TOWNS)}.",
        )
    )


def _page(rng: Random) -> str:
    title = f"How to {rng.choice(words.TASKS)}"
    steps = rng.sample(words.STEPS, rng.randint(7, 11))
    asides = [
        f"{rng.choice(words.PEOPLE)} from {rng.choice(words.TOWNS)} keeps {_item(rng)} at hand."
        for _ in range(4)
    ]
    half = len(steps) // 2
    body = [
        f"<p>{rng.choice(words.REASONS)} You need {_item(rng)} and some {rng.choice(words.GOODS)}.</p>",
        f"<h2>Before you begin</h2><p>{' '.join(steps[:half])} {asides[0]} {asides[1]}</p>",
        f"<h2>The work itself</h2><p>{' '.join(steps[half:])} {asides[2]}</p>",
        f"<p>{asides[3]} {rng.choice(words.REASONS)}</p>",
    ]
    return _html(title, "\n".join(body))


def _item(rng: Random) -> str:
    return (
        f"{rng.choice(('an old', 'a small', 'a clean', 'a second', 'a sturdy'))} {rng.choice(words.THINGS)}"
    )


def _html(title: str, body: str) -> str:
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<script>var visits = 1;</script><style>p { margin: 1em }</style></head>\n<body>\n"
        '<nav><a href="/">Home</a> <a href="/guides">Guides</a> <a href="/about">About</a></nav>\n'
        f"<main><article><h1>{title}</h1>\n{body}\n</article></main>\n"
        '<footer>All rights reserved. <a href="/privacy">Privacy</a> <a href="/terms">Terms</a></footer>\n'
        "</body></html>\n"
    )


def _posts(rng: Random) -> str:
    lines = []
    for _ in range(rng.randint(2, 5)):
        text = rng.choice(words.CHATTER).format(
            place=rng.choice(words.PLACES),
            person=rng.choice(words.PEOPLE),
            thing=rng.choice(words.THINGS),
            town=rng.choice(words.TOWNS),
            goods=rng.choice(words.GOODS),
        )
        mood = rng.choice(words.MOODS)
        lines.append(f"{text}, {mood}{rng.choice(('!', '...', '', '.'))}{rng.choice(words.EMOJI)}")
    return "\n".join(lines) + f" #{rng.choice(words.TAGS)}"


def _paragraphs(rng: Random, sentences: list[str]) -> str:
    """Sentences in paragraphs of three to six."""
    paragraphs = []
    while sentences:
        size = rng.randint(3, 6)
        paragraphs.append(" ".join(sentences[:size]))
        sentences = sentences[size:]
    return "\n\n".join(paragraphs)


def _noise(rng: Random, text: str) -> str:
    return "".join(rng.choice("#@%&*+=<>|~^_0123456789 ") for _ in range(400))


def _stutter(rng: Random, text: str) -> str:
    return "\n".join([rng.choice(words.SAYINGS) + "."] * 40)


def _french(rng: Random, text: str) -> str:
    return " ".join(row["target_text"] for row in sample_rows.translation(12, rng.randint(0, 99)))


def _typography(rng: Random, text: str) -> str:
    """Good text in bad shape: curly quotes, soft hyphens, wide spaces, an address and a number to mask."""
    first, last = rng.choice(words.PEOPLE).lower().split()
    text = text.replace('"', "\u201c").replace("the ", "the\u00a0 ").replace("er", "e\u00adr", 3)
    return f"{text}\n\nWrite to {first}.{last}@example.com or call 555-01{rng.randint(10, 99)}."


def _menu(rng: Random, text: str) -> str:
    return _html("Index", "".join(f'<a href="/{i}">{rng.choice(words.TOWNS)}</a> ' for i in range(30)))


def _stub(rng: Random, text: str) -> str:
    return "Page not found."


def _mojibake(rng: Random, text: str) -> str:
    """UTF-8 read as Windows' Western encoding, as half the web once did."""
    return (text + " Caf\u00e9 \u2013 d\u00e9j\u00e0 vu \u2026").encode().decode("cp1252", "replace")


_WRITERS: dict[str, Callable[[Random], str]] = {
    "books": _book,
    "articles": _article,
    "web": _page,
    "social": _posts,
}
_DIRT: tuple[Callable[[Random, str], str], ...] = (
    _noise,
    _typography,
    _menu,
    _stutter,
    _french,
    _mojibake,
    _stub,
)
