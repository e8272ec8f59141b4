"""Settings: YAML files, overrides and what is said about a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import presets, settings
from flows.settings import merge, override, read, resolve
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.rules import build
from tasks.errors import ConfigError


def _written(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _problem(text: str, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(presets.smoke(), read(_written(folder, text)))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    changes = read(_written(tmp_path, "extends: smoke\npretraining: {training: {steps: 7}}\n"))
    changed = resolve(presets.smoke(), changes)
    assert changed.pretraining.training.steps == 7
    back = changed.pretraining.training.model_copy(
        update={"steps": presets.smoke().pretraining.training.steps}
    )
    assert back == presets.smoke().pretraining.training
    assert changed.cleaning == presets.smoke().cleaning


def test_published_rules_are_switched_and_changed_one_by_one(tmp_path: Path) -> None:
    text = """
    cleaning:
      gopher: {enabled: true, domains: [web, essays], word_count: {minimum: 9}, stop_words: {enabled: false}}
      fineweb: {enabled: true}
      patterns: [{name: advert, pattern: '(?i)buy now', maximum: 2}]
    """
    cleaning = resolve(presets.smoke(), read(_written(tmp_path, text))).cleaning
    names = {rule.name for rule in build(cleaning, "web")} - {
        rule.name for rule in build(CleaningConfig(), "web")
    }
    assert {"gopher-word-count", "fineweb-short-lines", "pattern-advert"} < names
    assert not {"gopher-stop-words", "c4-sentences"} & names
    assert (cleaning.gopher.word_count.minimum, cleaning.gopher.word_count.maximum) == (9, 100_000)
    assert "gopher-word-count" in {rule.name for rule in build(cleaning, "essays")}
    assert resolve(presets.smoke(), {"cleaning": cleaning.model_dump(mode="json")}).cleaning == cleaning


def test_sources_replace_and_plus_sources_add(tmp_path: Path) -> None:
    line = "{type: files, path: corpus/*.txt, domain: books, licence: CC0-1.0}"
    replaced = resolve(presets.smoke(), read(_written(tmp_path, f"sources: [{line}]")))
    added = resolve(presets.smoke(), read(_written(tmp_path, f"+sources: [{line}]")))
    assert len(replaced.ingestion.sources) == 1
    assert added.ingestion.sources == (*presets.smoke().ingestion.sources, *replaced.ingestion.sources)


def test_relative_paths_are_taken_from_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    document = "sources: [{type: files, path: a/*.txt, domain: books, licence: x}]"
    source = read(_written(tmp_path, document))["sources"][0]
    assert source["path"] == str(tmp_path / "a/*.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "cleaning: {max_bad_ration: 0.1}",
            "cleaning.max_bad_ration: unknown key; did you mean 'max_bad_ratio'?",
        ),
        ("cleanin: {}", "cleanin: unknown key; did you mean 'cleaning'?"),
        (
            "cleaning: {gopher: {stopwords: {enabled: false}}}",
            "cleaning.gopher.stopwords: unknown key; did you mean 'stop_words'?",
        ),
        ("cleaning: {fineweb: {short_lines: {threshold: 2}}}", "cleaning.fineweb.short_lines.threshold: "),
        ("cleaning: {c4: {domains: [Web]}}", "cleaning.c4.domains.0: "),
        ("cleaning: {splits: {test: 0}}", "cleaning.splits.test: "),
        ("cleaning: {splits: {validation: 1}}", "cleaning.splits.validation: "),
        (
            "cleaning: {patterns: [{name: mine, pattern: '('}]}",
            "cleaning.patterns.0.pattern: Value error, is not a regular expression that can be used: ",
        ),
        ("pretraining: {training: {steps: -1}}", "pretraining.training.steps: "),
        ("pretraining: {training: {steps: many}}", "pretraining.training.steps: "),
        ("pretraining: {training: {learning_rate: .nan}}", "pretraining.training.learning_rate: "),
        ("pretraining: {training: {learning_rate: 1.0e999}}", "pretraining.training.learning_rate: "),
        ("a: &a [x]\nb: *a", "is not valid YAML"),
        ("x: !!python/object/apply:os.system [true]", "is not valid YAML"),
        ("x: [1\ny: 2", "my.yaml:2: is not valid YAML"),
        ("", "holds no settings"),
        ("- 1", "holds no settings"),
    ],
)
def test_mistakes_are_named_in_one_line(text: str, expected: str, tmp_path: Path) -> None:
    assert expected in _problem(text, tmp_path)


def test_missing_large_and_foreign_files_are_refused(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path / "none.yaml", "no such file"),
        (_written(tmp_path, "#" * (settings.MAX_CONFIG_BYTES + 1)), "is larger than"),
    ):
        with pytest.raises(ConfigError, match=problem):
            read(path)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"x: \xe9")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("assignment", ["steps", "=3", "a..b=3", "a.=1"])
def test_an_assignment_needs_a_key_and_a_value(assignment: str) -> None:
    with pytest.raises(ConfigError, match=r"key\.path=value"):
        override({}, [assignment])


def test_assignments_are_read_as_yaml_and_the_last_wins() -> None:
    found = override({"a": {"b": 1}}, ["a.c=[1, x]", "a.b=true", "a.b=2.5"])
    assert found == {"a": {"b": 2.5, "c": [1, "x"]}}


_TREES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_MAPPINGS = st.dictionaries(st.sampled_from("abc"), _TREES, max_size=3)


@given(_MAPPINGS, _MAPPINGS)
def test_merging_twice_is_merging_once_and_nothing_is_the_unit(base: dict, changes: dict) -> None:
    once = merge(base, changes)
    assert merge(once, changes) == once
    assert merge(base, {}) == base
    assert merge({}, changes) == changes
