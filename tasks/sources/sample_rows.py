"""Self-written labelled rows: rated opinions, questions with answer spans, sentences and their French."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tasks.sources import sample_words as words
from tasks.sources.outcomes import digest

_SUBJECTS = (
    "film", "novel", "concert", "hotel", "kettle", "phone", "museum", "recipe", "bicycle", "train ride",
    "garden tool", "play", "podcast", "tent", "lamp", "restaurant", "radio", "album", "course", "backpack",
)  # fmt: skip
_OPINIONS: dict[str, tuple[tuple[float, str], ...]] = {
    "positive": (
        (3.1, "a joy from start to finish"), (2.6, "far better than I had hoped"), (2.9, "beautifully made"),
        (1.8, "pleasant and well worth the money"), (3.4, "simply wonderful"), (2.2, "clever and warm"),
        (1.4, "good, and I would choose it again"), (2.7, "the best I have had this year"),
        (2.0, "a great surprise"),
        (1.6, "solid and easy to love"), (3.0, "brilliant in every detail"), (1.2, "likeable and fresh"),
    ),
    "negative": (
        (-3.2, "a complete waste of time"), (-2.4, "dull and badly made"), (-2.8, "awful in every way"),
        (-1.7, "a disappointment"), (-3.0, "broken after a day"), (-1.9, "noisy, slow and ugly"),
        (-2.1, "worse than the cheap one I had"), (-1.3, "weak and forgettable"), (-2.6, "a sad mess"),
        (-1.5, "too expensive for so little"), (-2.9, "the worst I have seen"),
        (-2.2, "boring from the first minute"),
    ),
    "neutral": (
        (0.0, "about what one would expect"), (0.1, "made in two sizes"), (-0.1, "sold in most shops"),
        (0.0, "listed on page nine"), (0.2, "neither good nor bad"), (0.0, "delivered on Tuesday"),
        (-0.2, "similar to the one from last year"), (0.1, "described in the manual"),
        (0.0, "available from March"),
    ),
}  # fmt: skip
_FRAMES = (
    "The {subject} from {town} is {opinion}.", "{person}'s {subject}: {opinion}.",
    "I found this {subject} {opinion}.", "We tried the {subject} near {place}, and it is {opinion}.",
    "For me the {subject} was {opinion}.", "My neighbour calls the {subject} {opinion}, and so do I.",
)  # fmt: skip
# English, French and whether the French noun is feminine.
_NOUNS = (
    ("garden", "jardin", False), ("house", "maison", True), ("bridge", "pont", False),
    ("letter", "lettre", True),
    ("boat", "bateau", False), ("door", "porte", True), ("book", "livre", False), ("key", "clé", True),
    ("dog", "chien", False), ("table", "table", True), ("train", "train", False), ("lamp", "lampe", True),
    ("market", "marché", False), ("city", "ville", True), ("teacher", "professeur", False),
    ("queen", "reine", True),
    ("baker", "boulanger", False), ("river", "rivière", True), ("coat", "manteau", False),
    ("window", "fenêtre", True),
)  # fmt: skip
_ADJECTIVES = (
    ("red", "rouge", "rouge"), ("green", "vert", "verte"), ("black", "noir", "noire"),
    ("white", "blanc", "blanche"),
    ("quiet", "calme", "calme"), ("heavy", "lourd", "lourde"), ("strange", "étrange", "étrange"),
    ("famous", "célèbre", "célèbre"), ("yellow", "jaune", "jaune"), ("empty", "vide", "vide"),
)  # fmt: skip
_VERBS = (
    ("sees", "voit"), ("finds", "trouve"), ("sells", "vend"), ("paints", "peint"), ("hides", "cache"),
    ("repairs", "répare"), ("forgets", "oublie"), ("carries", "porte"),
)  # fmt: skip
_SENTENCES = (
    ("{1} {v} {2}.", "{1} {v} {2}."),
    ("Today {1} {v} {2}.", "Aujourd'hui {1} {v} {2}."),
    ("{1} never {v} {2}.", "{1} ne {v} jamais {2}."),
    ("Every morning {1} {v} {2}.", "Chaque matin {1} {v} {2}."),
    ("{1} {v} {2} with %(count)s friends.", "{1} {v} {2} avec %(count)s amis."),
    ("{1} {v} {2} in {{place}}.", "{1} {v} {2} à {{place}}."),
)


def sentiment(rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """Opinions with their class and a rating from -4 to 4, the three classes in turn."""
    for number in range(rows):
        rng = Random(f"sentiment:{seed}:{number}")
        label = ("positive", "negative", "neutral")[number % 3]
        rating, opinion = rng.choice(_OPINIONS[label])
        text = rng.choice(_FRAMES).format(
            subject=rng.choice(_SUBJECTS),
            town=rng.choice(words.TOWNS),
            place=rng.choice(words.PLACES),
            person=rng.choice(words.PEOPLE),
            opinion=opinion,
        )
        yield {"text": text, "label": label, "rating": rating}


def question_answering(rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """Four questions to each short description of a town; the last of every second one has no answer."""
    for number in range(rows):
        rng = Random(f"question:{seed}:{number // 4}")
        facts = _facts(rng)
        context = " ".join(fact for _, fact, _ in facts)
        question, _, answer = facts[number % 4]
        if number % 8 == 7:
            question, answer = "Who is the mayor of the town?", ""
        start = context.index(answer) if answer else -1
        values = {"context": context, "question": question, "answer": answer, "answer_start": start}
        yield {"context_id": digest(context)[:16], **values}


def _facts(rng: Random) -> tuple[tuple[str, str, str], ...]:
    town, river = rng.choice(words.TOWNS), rng.choice(words.RIVERS)
    founder, year = rng.choice(words.PEOPLE), str(rng.randint(1100, 1890))
    goods, feature = rng.choice(words.GOODS), rng.choice(words.FEATURES)
    return (
        (f"On which river is {town}?", f"{town} lies on the river {river}.", f"the river {river}"),
        (f"Who founded {town}?", f"It was founded by {founder} in the year {year}.", founder),
        (f"What is made in {town}?", f"Its people have always made {goods} for the coast.", goods),
        (f"What can be seen in {town}?", f"Visitors come to see {feature}.", feature),
    )


def translation(rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """English sentences and their French, some with the placeholders of software messages."""
    for number in range(rows):
        rng = Random(f"translation:{seed}:{number}")
        (english_1, french_1), (english_2, french_2) = _noun(rng), _noun(rng)
        english, french = rng.choice(_SENTENCES)
        verb, verbe = rng.choice(_VERBS)
        yield {
            "source_text": _sentence(english, english_1, english_2, verb),
            "target_text": _sentence(french, french_1, french_2, verbe),
        }


def _noun(rng: Random) -> tuple[str, str]:
    noun, nom, feminine = rng.choice(_NOUNS)
    adjective, masculine_form, feminine_form = rng.choice(_ADJECTIVES)
    french = f"la {nom} {feminine_form}" if feminine else f"le {nom} {masculine_form}"
    return f"the {adjective} {noun}", french


def _sentence(form: str, first: str, second: str, verb: str) -> str:
    text = form.replace("{1}", first).replace("{2}", second).replace("{v}", verb)
    text = text.replace("{{", "{").replace("}}", "}").replace("ne oublie", "n'oublie")
    return text[0].upper() + text[1:]


WRITERS: dict[str, Callable[[int, int], Iterator[dict[str, Any]]]] = {
    "sentiment": sentiment,
    "question-answering": question_answering,
    "translation": translation,
}
