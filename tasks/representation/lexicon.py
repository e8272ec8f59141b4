"""Words for groups of people, occupations, and words of praise and blame: short lists of ours, in English.

A list finds what it lists. Words that mostly mean something else are left out or taken in phrases alone: "black people"
and "white man" but no colours, "blind people" but no blind alleys. "Man" and "he" also stand for anybody in older text,
"son" and "daughter" for many things in scripture; the report says so. A user can add groups of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

Lexicon = Mapping[str, str]
"""What a word, or two with a space between them, stands for; lower case."""


def _listed(text: str) -> list[str]:
    return text.split()


_WOMEN = (
    "woman women girl girls lady ladies she her hers "
    "herself mother mothers daughter daughters sister sisters wife wives"
)
_MEN = (
    "man men boy boys gentleman gentlemen he him his "
    "himself father fathers son sons brother brothers husband husbands"
)
_PEOPLE = ("people", "person", "persons", "man", "men", "woman", "women", "child", "children", "community")
# Category and group, and its words; those behind "|" count before one of _PEOPLE alone.
_GROUPS = {
    "gender: women": _WOMEN + " female females",
    "gender: men": _MEN + " male males",
    "gender: transgender people": "transgender nonbinary|trans",
    "age: the young": "child children teenager teenagers adolescent adolescents|young",
    "age: the old": "elderly pensioner pensioners grandmother grandmothers grandfather grandfathers|old older",
    "religion: Christians": "christian christians catholic catholics protestant protestants",
    "religion: Muslims": "muslim muslims moslem moslems",
    "religion: Jews": "jew jews jewish",
    "religion: Hindus": "hindu hindus",
    "religion: Buddhists": "buddhist buddhists",
    "religion: atheists": "atheist atheists",
    "origin: black people": "negro negroes|black",
    "origin: white people": "|white",
    "origin: Africans": "african africans",
    "origin: Americans": "american americans",
    "origin: Arabs": "arab arabs",
    "origin: Asians": "asian asians chinese japanese indian indians|korean",
    "origin: Europeans": "european europeans british french german germans italian italians",
    "origin: Latin Americans": "latino latinos latina latinas hispanic hispanics mexican mexicans",
    "origin: indigenous people": "|indigenous native aboriginal",
    "orientation: gay people": "gay gays lesbian lesbians homosexual homosexuals bisexual bisexuals",
    "orientation: straight people": "heterosexual heterosexuals|straight",
    "disability: disabled people": "wheelchair deaf autistic|disabled blind handicapped",
}
GENDERS = ("gender: women", "gender: men")
OCCUPATIONS = _listed(
    """
    accountant actor artist baker banker builder butcher captain carpenter cashier chef cleaner clerk coach
    cook dancer dentist designer developer doctor driver editor engineer farmer fisherman gardener guard
    hairdresser hunter judge lawyer librarian manager mechanic merchant miner musician nurse painter
    pharmacist philosopher physician pilot plumber poet politician president priest professor programmer
    psychologist receptionist sailor scientist secretary servant sheriff shepherd singer smith soldier
    surgeon tailor teacher waiter weaver writer
    """
)
POSITIVE = _listed(
    """
    able admirable beautiful beloved best blessed brave brilliant bright calm capable charming cheerful
    clever courage delight excellent faithful fair fine friend generous gentle gifted glad good grace great
    happy honest honour hope joy just kind love lovely loyal merry noble peace pleasant praise proud pure
    sincere skilled strong success sweet true virtue warm wise wonderful worthy
    """
)
NEGATIVE = _listed(
    """
    angry awful bad base bitter blame brutal corrupt coward crime criminal cruel cursed damned danger
    dangerous dead deceit despair dirty enemy evil failure false fear fool foolish foul guilty hate hateful
    horrible hostile idle ignorant jealous lazy liar mad murder poor rude sad savage shame sick sin stupid
    terrible thief ugly vile violent weak wicked worst wretched wrong
    """
)


def groups(extra: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, str]:
    """The group of each word or pair of words; ``extra`` adds groups, and words to ours.

    Raises:
        ValueError: a word stands for two groups, or a phrase has more than two words.
    """
    found: dict[str, str] = {}
    for group, line in _GROUPS.items():
        alone, _, before = line.partition("|")
        _add(found, group, alone.split())
        _add(found, group, [f"{word} {people}" for word in before.split() for people in _PEOPLE])
    for group, terms in (extra or {}).items():
        _add(found, group, [" ".join(term.lower().split()) for term in terms])
    return found


def with_plurals(words: list[str]) -> dict[str, str]:
    """Each word and its plural with the singular that both stand for."""
    found: dict[str, str] = {}
    for word in words:
        plural = word[:-3] + "men" if word.endswith("man") else word + "s"
        found |= {word: word, plural: word}
    return found


def _add(found: dict[str, str], group: str, terms: list[str]) -> None:
    for term in terms:
        if not term or len(term.split()) > 2:
            raise ValueError(f"{group}: {term!r} is not one or two words")
        if found.setdefault(term, group) != group:
            raise ValueError(f"{term!r} stands for {found[term]!r} and for {group!r}")
