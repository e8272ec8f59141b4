"""Labelled rows: what users' columns and the sets inside packages say, in the columns of ``tasks.tables``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tasks.sources.files import Interpret
from tasks.sources.labelled_config import (
    QuestionAnsweringFiles,
    QuestionAnsweringPackage,
    SentimentFiles,
    SentimentPackage,
    TranslationFiles,
    TranslationPackage,
)
from tasks.sources.localisation import pairs
from tasks.sources.outcomes import Kept, LeftOut, Outcome, Outcomes, Place, digest, unusable
from tasks.sources.readers import json_rows, vader_rows
from tasks.sources.records import Record

LabelledFiles = SentimentFiles | QuestionAnsweringFiles | TranslationFiles
LabelledPackage = SentimentPackage | QuestionAnsweringPackage | TranslationPackage
_NAMES = ("negative", "neutral", "positive")
_STARS = {1: "negative", 2: "negative", 3: "neutral", 4: "positive", 5: "positive"}
_FROM_POSITIVE = 0.5  # a mean rating from here on counts as positive, its negative as negative
_VADER_SETS = (
    "*/tweets_GroundTruth.txt",
    "*/movieReviewSnippets_GroundTruth.txt",
    "*/amazonReviewSnippets_GroundTruth.txt",
)
_QUAC_QUESTION = re.compile(r"question\d+:\s*")
_QUAC_ANSWER = re.compile(r"possible answers for question\d+:\n?")


def interpreter(source: LabelledFiles, max_bytes: int) -> Interpret:
    """How a record of a user's file becomes a labelled row."""

    def interpret(record: Record, _: str) -> Outcome:
        fields, place = record.fields, record.place
        match source:
            case SentimentFiles():
                return _sentiment(fields[source.text], fields[source.label], source.labels, place, max_bytes)
            case TranslationFiles():
                values = {
                    "source_text": fields[source.source_text],
                    "target_text": fields[source.target_text],
                }
                return _checked(place, values, ("source_text", "target_text"), max_bytes)
            case QuestionAnsweringFiles():
                return _question(source, fields, place, max_bytes)

    return interpret


def rows(source: LabelledPackage, path: Path, max_bytes: int) -> Outcomes:
    """Labelled rows of one package file."""
    match source:
        case SentimentPackage():
            outcomes = _vader(source, path)
        case QuestionAnsweringPackage():
            outcomes = _QUESTION_READERS[source.reader](source, path)
        case TranslationPackage():
            outcomes = pairs(source, path)
    for outcome in outcomes:
        yield _sized(outcome, max_bytes) if isinstance(outcome, Kept) else outcome


def span(context: str, answer: str, start: int | None = None) -> int | None:
    """Where an answer stands in its context: at ``start`` if given, else its first place; None if nowhere."""
    if start is None:
        found = context.find(answer)
        return found if found >= 0 else None
    return start if start >= 0 and context[start : start + len(answer)] == answer else None


def longest_span(context: str, answers: str) -> str:
    """The longest beginning of ``answers`` that occurs in the context, in whole words.

    QuAC's answers by several raters are joined without a separator; this is how the first is had back.
    """
    low, high = 0, len(answers)
    while low < high:  # if a beginning occurs, every shorter one does
        middle = (low + high + 1) // 2
        low, high = (middle, high) if answers[:middle] in context else (low, middle - 1)
    found = answers[:low]
    start = context.find(found)
    after = context[start + low : start + low + 1]
    if found and found[-1].isalnum() and (answers[low : low + 1].isalnum() or after.isalnum()):
        found = found[: found.rfind(" ") + 1]
    return _without_second_start(found.strip().rstrip(",").rstrip())


def _without_second_start(found: str) -> str:
    """Cut a last fragment that repeats the beginning: "Amir won the final. Amir" of two raters' answers."""
    whole, _, fragment = found.rpartition(" ")
    while whole and not whole.rstrip("\"')]").endswith((".", "!", "?")):
        whole, _, word = whole.rpartition(" ")
        fragment = f"{word} {fragment}"
    return whole if whole and found.startswith(fragment) else found


def _sentiment(text: object, label: object, labels: dict[str, Any], place: Place, max_bytes: int) -> Outcome:
    problem = unusable(text, max_bytes)
    if problem:
        return place.bad(*problem)
    name, rating = _label(label, labels)
    if name is None:
        return place.bad(
            "label", f"label {str(label)[:40]!r} is none of {', '.join(_NAMES)}, 1 to 5, or `labels`"
        )
    return Kept(place.uri, {"text": text, "label": name, "rating": rating}, place.uri)


def _label(label: object, labels: dict[str, Any]) -> tuple[str | None, float | None]:
    """The class and, where the label is a number, the number."""
    word = str(label).strip()
    number = _number(label)
    if word in labels:
        return labels[word], number
    if labels:
        return None, None
    if word.lower() in _NAMES:
        return word.lower(), None
    return (_STARS.get(int(number)), number) if number is not None and number.is_integer() else (None, None)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e15 else None


def _question(
    source: QuestionAnsweringFiles, fields: dict[str, Any], place: Place, max_bytes: int
) -> Outcome:
    context, question = fields[source.context], fields[source.question]
    problem = unusable(context, max_bytes) or unusable(question, max_bytes)
    if problem:
        return place.bad(*problem)
    answer = fields[source.answer]
    if answer is None or answer == "":
        return _answered(place.uri, context, question, "", -1)
    problem = unusable(answer, max_bytes)
    if problem:
        return place.bad(*problem)
    given = None
    if source.answer_start:
        number = _number(fields[source.answer_start])
        if number is None or not number.is_integer():
            return place.bad("answer", f"{source.answer_start!r} is no whole number")
        given = int(number)
    start = span(context, answer, given)
    if start is None:
        return place.bad(
            "answer", "the answer does not stand in the context" + (" at that place" if given else "")
        )
    return _answered(place.uri, context, question, answer, start)


def _answered(uri: str, context: str, question: str, answer: str, start: int) -> Kept:
    values = {"context": context, "question": question, "answer": answer, "answer_start": start}
    return Kept(uri, {"context_id": digest(context)[:16], **values}, uri)


def _checked(place: Place, values: dict[str, Any], names: tuple[str, ...], max_bytes: int) -> Outcome:
    for name in names:
        problem = unusable(values[name], max_bytes)
        if problem:
            return place.bad(problem[0], f"{name}: {problem[1]}")
    return Kept(place.uri, values, place.uri)


def _sized(outcome: Kept, max_bytes: int) -> Outcome:
    texts = tuple(
        name
        for name in ("text", "context", "question", "source_text", "target_text")
        if name in outcome.values
    )
    return _checked(Place(outcome.uri, outcome.uri), outcome.values, texts, max_bytes)


def _vader(source: SentimentPackage, path: Path) -> Outcomes:
    for uri, rating, text in vader_rows(source, path, _VADER_SETS):
        label = (
            "positive" if rating >= _FROM_POSITIVE else "negative" if rating <= -_FROM_POSITIVE else "neutral"
        )
        yield Kept(uri, {"text": text, "label": label, "rating": rating})


def _quac(source: QuestionAnsweringPackage, path: Path) -> Outcomes:
    """Each row holds a passage, its questions joined into one string and their answers into another."""
    for uri, row in json_rows(source, path, ("*/Quac/test.jsonl",)):
        questions = [part.strip() for part in _QUAC_QUESTION.split(row["question"])[1:]]
        answers = [part.strip() for part in _QUAC_ANSWER.split(row["answer"])[1:]]
        if len(questions) != len(answers):
            yield Place(uri, uri).bad("answer", f"{len(questions)} questions and {len(answers)} answers")
            continue
        for number, (question, joined) in enumerate(zip(questions, answers, strict=True), 1):
            yield _quac_answer(f"{uri}.{number}", row["passage"], question, joined)


def _quac_answer(uri: str, context: str, question: str, joined: str) -> Outcome:
    if joined.startswith("CANNOTANSWER"):
        return _answered(uri, context, question, "", -1)
    answer = longest_span(context, joined)
    start = span(context, answer)
    if not answer or start is None:
        return LeftOut("answer is no span of the passage")
    return _answered(uri, context, question, answer, start)


def _narrativeqa(source: QuestionAnsweringPackage, path: Path) -> Outcomes:
    """The questions with an answer that stands in the summary; the first such answer counts.

    Answers were written freely, so case and a closing full stop do not matter; the summary's text is kept.
    """
    for uri, row in json_rows(source, path, ("*/NarrativeQA/test.jsonl",)):
        context, answers = row["passage"], (answer.strip().rstrip(". ") for answer in row["answer"])
        found = next(filter(None, (_word_for_word(answer, context) for answer in answers if answer)), None)
        if found is None:
            yield LeftOut("answer is no span of the passage")
        else:
            yield _answered(uri, context, row["question"], found.group(), found.start())


def _word_for_word(answer: str, context: str) -> re.Match[str] | None:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", context, re.IGNORECASE)


_QUESTION_READERS: dict[str, Callable[[QuestionAnsweringPackage, Path], Iterator[Outcome]]] = {
    "quac": _quac,
    "narrativeqa": _narrativeqa,
}
