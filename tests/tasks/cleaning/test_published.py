"""What holds for every published rule: its switch, its domains, its purity, its time; and the books of a run."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import tables
from tasks.cleaning import c4
from tasks.cleaning import documents as documents_module
from tasks.cleaning.clean import clean
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.language import Language
from tasks.cleaning.page import Page, Rule
from tasks.cleaning.pool import Pool
from tasks.cleaning.published import PublishedRule
from tasks.cleaning.rules import build
from tasks.cleaning.shingles import words
from tasks.errors import DataError

GROUPS = ("gopher", "c4", "fineweb")
Make = Callable[..., Any]


def config(**changes: Any) -> CleaningConfig:
    """All groups on, for every domain."""
    on: dict[str, Any] = {name: {"enabled": True, "domains": []} for name in GROUPS}
    return CleaningConfig.model_validate(on | changes)


def page(text: str) -> Page:
    return Page(text, "web", Language("en", 0.99), words(text))


def published(rules: tuple[Rule, ...]) -> list[Rule]:
    return [rule for rule in rules if isinstance(rule, PublishedRule)]


def names(config: CleaningConfig, domain: str) -> set[str]:
    lines = {rule.name for rule in config.c4.line_rules()} if config.c4.applies_to(domain) else set()
    return {rule.name for rule in published(build(config, domain))} | lines


def test_nothing_published_is_asked_unless_it_is_switched_on() -> None:
    assert all(names(CleaningConfig(), domain) == set() for domain in ("web", "books"))
    assert len(names(config(), "web")) == 20 + 8 + 3


@pytest.mark.parametrize("group", GROUPS)
def test_every_rule_has_a_switch_and_a_name_of_its_group(group: str) -> None:
    everything = names(config(), "web")
    switches = {
        name for name in type(getattr(config(), group)).model_fields if name not in ("enabled", "domains")
    }
    gone = set()
    for switch in switches:
        off = config(**{group: {"enabled": True, "domains": [], switch: {"enabled": False}}})
        (missing,) = everything - names(off, "web")
        assert missing.startswith(f"{group}-")
        gone.add(missing)
    assert gone == {name for name in everything if name.startswith(f"{group}-")}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_for_its_domains(group: str) -> None:
    only = CleaningConfig.model_validate({group: {"enabled": True}})
    assert names(only, "web") and not names(only, "books")
    two = CleaningConfig.model_validate({group: {"enabled": True, "domains": ["books", "essays"]}})
    assert names(two, "essays") and names(two, "books") and not names(two, "web")


ODD = [
    "",
    "word",
    "\u0645\u0631\u062d\u0628\u0627",
    "\ud800",
    "e\u0301",
    "#",
    "...",
    "\u2026",
    "{",
    "\n",
    "\n\n",
    "- ",
    "\U0001f600",
    "\x00",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_judged(text: str) -> None:
    for rule in build(config(), "web"):
        rule.check(page(text))


@settings(max_examples=200)
@given(st.text() | st.lists(st.sampled_from([*ODD, "the", "of", "cat. ", " "])).map("".join))
def test_rules_are_pure(text: str) -> None:
    """The same answer again, from another page of the same text, and in any order of asking."""
    rules = published(build(config(), "web"))
    one, other = page(text), page(text)
    found = [rule.check(one) for rule in rules]
    assert [rule.check(other) for rule in reversed(rules)][::-1] == found
    assert [rule.check(one) for rule in rules] == found
    for finding in filter(None, found):
        assert finding.value >= 0 and "\n" not in finding.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"w{number * 7919 % 30_011}" for number in range(3_000_000)),
        "a b " * 5_000_000,
        "." * 20_000_000 + "x",
        "#" * 20_000_000,
        "- " * 10_000_000,
    ],
    ids=["prose", "two words", "full stops", "one word", "bullets"],
)
def test_a_line_of_twenty_megabytes_takes_no_more_than_its_share(text: str) -> None:
    started = time.monotonic()
    c4.edit(text, config().c4)
    long = page(text)
    for rule in published(build(config(), "web")):
        rule.check(long)
    assert time.monotonic() - started < 120  # some 10 s; quadratic time would be days


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "Pool", lambda config, kinds: Pool(config, kinds, 1))


@pytest.mark.usefixtures("one_worker")
def test_the_books_balance_with_every_rule_on(
    tmp_path: Path, prose: Make, document: Make, ingestion: Make
) -> None:
    good = [f"The {prose(n, 40)} And the {prose(n + 100, 40)} Of the {prose(n + 200, 40)}" for n in range(30)]
    rows = [
        document(f"good-{n:02}", f"Menu\n\n{text}\n\nHome | About", domain="web")
        for n, text in enumerate(good)
    ]
    rows += [
        document("curly", f"{good[0]} It has {{ code }}, and it is the end of the text.", domain="web"),
        document("brief", f"The {prose(300, 20)} And {prose(301, 20)} Of {prose(302, 5)}", domain="web"),
        document("list", "\n".join(f"word of line {n} goes on" for n in range(60)), domain="web"),
        document("poem", "\n".join(prose(400 + n, 6)[:-1] for n in range(12)), domain="books"),
        document("mine", f"{good[1]} Buy now, and buy all of it.", domain="web"),
    ]
    chosen = {name: {"enabled": True} for name in GROUPS}
    chosen["gopher"] |= {f"top_{n}_gram": {"enabled": False} for n in (2, 3, 4)}
    patterns = [{"name": "advert", "pattern": "(?i)buy now"}]
    settings = CleaningConfig.model_validate({**chosen, "patterns": patterns})
    out = tmp_path / "out"
    out.mkdir()
    summary = clean({"ingestion": ingestion(rows)}, settings, out)
    kept = {row["id"]: row for row in tables.iterate(out / "documents.parquet")}
    gone = {row["id"]: row for row in tables.iterate(out / "quarantine.parquet")}
    assert Counter([*kept, *gone]) == Counter(row["id"] for row in rows)
    assert {key: row["rule"] for key, row in gone.items()} == {
        "curly": "c4-curly-bracket",
        "brief": "gopher-word-count",
        "list": "too-short",  # no line ends as a sentence does: nothing is left
        "mine": "pattern-advert",
    }
    assert gone["list"]["excerpt"].startswith("word of line 0") and kept["poem"]["words"] == 72
    assert kept["good-03"]["text"] == good[3] and kept["good-03"]["words"] == len(words(good[3]))
    report = json.loads((out / "filter_report.json").read_text())
    lines = 30 * len("Menu\n\n" + "\n\nHome | About") + len(
        "\n".join(f"word of line {n} goes on" for n in range(60))
    )
    assert report["refused_lines"] == {
        "web": {"documents": 31, "bytes": lines, "c4-terminal-punctuation": 30 * 2 + 60}
    }
    assert summary.documents.dropped == 4


@pytest.mark.usefixtures("one_worker")
def test_a_pattern_without_end_stops_the_stage(
    tmp_path: Path, prose: Make, document: Make, ingestion: Make
) -> None:
    rows = [document(f"good-{n:02}", prose(n, 60)) for n in range(9)]
    rows += [document("trap", f"{prose(9, 60)} {'a' * 40}!") | {"uri": "corpus/trap.txt"}]
    patterns = [{"name": "loop", "pattern": "(a|a)+$"}]
    settings = CleaningConfig.model_validate({"patterns": patterns, "pattern_timeout": 0.2})
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"corpus/trap\.txt: rule pattern-loop takes more than 0\.2 s"):
        clean({"ingestion": ingestion(rows)}, settings, tmp_path / "out")
    assert not (tmp_path / "out" / "documents.parquet").exists()
