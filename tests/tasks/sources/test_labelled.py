from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import SourceError
from tasks.sources import files, labelled
from tasks.sources.labelled_config import QuestionAnsweringFiles, SentimentFiles, TranslationFiles
from tasks.sources.outcomes import Bad, Kept, Outcome

LIMIT = 1 << 16


def read(kind: type, path: Path, **options: object) -> list[Outcome]:
    source = kind.model_validate({"path": str(path), "licence": "CC0-1.0", **options})  # type: ignore[attr-defined]
    return list(files.read(source, labelled.interpreter(source, LIMIT), LIMIT))


def values(outcomes: list[Outcome], *names: str) -> list[tuple[object, ...]]:
    return [tuple(o.values[name] for name in names) for o in outcomes if isinstance(o, Kept)]


def bad(outcomes: list[Outcome]) -> list[str]:
    return [outcome.rule for outcome in outcomes if isinstance(outcome, Bad)]


def test_names_and_stars_are_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "review,stars\ngood,5\nbad,1\nso,3.0\nfine,Positive\nhm,0\nhm,4.5\nhm,true\n"
    )
    outcomes = read(SentimentFiles, tmp_path / "a.csv", text="review", label="stars")
    assert values(outcomes, "label", "rating") == [
        ("positive", 5.0),
        ("negative", 1.0),
        ("neutral", 3.0),
        ("positive", None),
    ]
    assert bad(outcomes) == ["label", "label", "label"]


def test_the_files_own_labels_can_be_mapped(tmp_path: Path) -> None:
    rows = [{"text": "bad", "label": 0}, {"text": "good", "label": "1"}, {"text": "x", "label": 5}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    outcomes = read(SentimentFiles, tmp_path / "a.jsonl", labels={"0": "negative", "1": "positive"})
    assert values(outcomes, "label") == [("negative",), ("positive",)]
    assert bad(outcomes) == ["label"], "with a mapping of one's own, 5 is no longer stars"


def test_answers_are_spans_of_their_context(tmp_path: Path) -> None:
    rows = [
        {"context": "red, red and blue", "question": "what?", "answer": "red", "start": 5},
        {"context": "red, red and blue", "question": "what?", "answer": "red", "start": 4},
        {"context": "red, red and blue", "question": "what?", "answer": "red", "start": -12},
        {"context": "red, red and blue", "question": "which?", "answer": "", "start": None},
        {"context": "red, red and blue", "question": "which?", "answer": None, "start": None},
        {"context": "red", "question": " ", "answer": "red", "start": 0},
        {"context": "red", "question": "what?", "answer": 3, "start": 0},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    outcomes = read(QuestionAnsweringFiles, tmp_path / "a.jsonl", answer_start="start")
    assert values(outcomes, "answer", "answer_start") == [("red", 5), ("", -1), ("", -1)]
    assert bad(outcomes) == ["answer", "answer", "empty", "not-text"]
    found = read(QuestionAnsweringFiles, tmp_path / "a.jsonl")
    assert values(found, "answer_start")[:3] == [(0,), (0,), (0,)]


def test_both_sides_of_a_translation_are_needed(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("en\tfr\nhello\tbonjour\nhello\t\n")
    outcomes = read(TranslationFiles, tmp_path / "a.tsv", source_text="en", target_text="fr")
    assert values(outcomes, "source_text", "target_text") == [("hello", "bonjour")]
    assert [o.reason for o in outcomes if isinstance(o, Bad)] == ["target_text: the text is empty"]


def test_a_text_file_holds_no_labelled_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(SourceError, match="txt holds no labelled rows"):
        read(SentimentFiles, tmp_path / "a.txt")


@given(context=st.text(max_size=60), answers=st.text(max_size=60))
def test_the_longest_span_stands_in_the_context_and_begins_the_answers(context: str, answers: str) -> None:
    found = labelled.longest_span(context, answers)
    assert found in context
    assert found in answers


@pytest.mark.parametrize(
    ("context", "answers", "span"),
    [
        ("She left early, he stayed.", "She left early, She left", "She left early"),
        ("Amir won the final. Amir was happy.", "Amir won the final. Amir won", "Amir won the final."),
        ("J. R. R. Tolkien wrote it.", "J. R. R. Tolkien", "J. R. R. Tolkien"),
        ("He was unable.", "He was un", "He was"),
        ("nothing", "else", ""),
    ],
)
def test_the_first_of_several_joined_answers_is_found(context: str, answers: str, span: str) -> None:
    assert labelled.longest_span(context, answers) == span
