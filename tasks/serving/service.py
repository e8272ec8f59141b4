"""What a registered model runs: MLflow copies this file and ``models/`` into the model and calls `predict`.

Models-from-code: nothing is pickled. A request is a row (or several) of

    task             generate, sentiment, question-answering or translation
    text             the prompt, the text to judge, the context to search, the text to translate
    question         for question-answering
    max_new_tokens, temperature, seed   for generate

and each row is answered with a dictionary. It stands alone: only ``models`` is imported, because the model is
served where the rest of the project is not.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

logger = logging.getLogger(__name__)

BUNDLE = "bundle"
PRETRAINED = "pretraining"
GENERATE, SENTIMENT, QUESTION_ANSWERING, TRANSLATION = TASKS = (
    "generate",
    "sentiment",
    "question-answering",
    "translation",
)
MOST_ROWS = 1_000
MOST_CHARACTERS = 100_000
MOST_NEW_TOKENS = 2_000

Row = dict[str, Any]
Answers = list[dict[str, Any]]


class BadRequestError(ValueError):
    """A request that cannot be answered; the message is for whoever sent it."""


class Desk:
    """The models of a bundle folder, ready to answer rows. Not for two threads at once."""

    def __init__(self, bundle: Path) -> None:
        """Load the pretrained model and every fine-tuned one that is there.

        Raises:
            ValueError: a model folder cannot be used.
        """
        from models.export import load_pretrained, load_tokenizer
        from models.head_export import load_head

        self.model = load_pretrained(bundle / PRETRAINED)
        self.tokenizer = load_tokenizer(bundle / PRETRAINED)
        folders = {task: bundle / task for task in TASKS[1:] if (bundle / task).is_dir()}
        self.heads: dict[str, Any] = {
            task: (*load_head(folder), load_tokenizer(folder)) for task, folder in folders.items()
        }

    def answer(self, rows: Sequence[Row]) -> Answers:
        """Answer every row, in order; rows of one task go through the network together.

        Raises:
            BadRequestError: a row cannot be answered; no row is then.
        """
        by_task: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            self._check(place, row)
            by_task.setdefault(row["task"], []).append(place)
        answers: Answers = [{} for _ in rows]
        for task, places in by_task.items():
            work: Callable[[list[Row]], Answers] = getattr(self, "_" + task.replace("-", "_"))
            try:
                found = work([rows[place] for place in places])
            except ValueError as error:
                raise BadRequestError(f"{task}: {error}") from error
            for place, answer in zip(places, found, strict=True):
                answers[place] = {"task": task, **answer}
        return answers

    def _check(self, place: int, row: Row) -> None:
        task = row.get("task")
        served = [GENERATE, *self.heads]
        if task not in served:
            raise BadRequestError(
                f"row {place}: task is {str(task)[:100]!r}, must be one of {', '.join(served)}"
            )
        needed = ("text", "question") if task == QUESTION_ANSWERING else ("text",)
        for name in needed:
            value = row.get(name)
            if not isinstance(value, str):
                raise BadRequestError(f"row {place}: {name} must be text for the task {task}")
            if len(value) > MOST_CHARACTERS:
                raise BadRequestError(f"row {place}: {name} is longer than {MOST_CHARACTERS} characters")
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise BadRequestError(f"row {place}: {name} is not valid Unicode") from error
            if task != GENERATE and not value.strip():
                raise BadRequestError(f"row {place}: {name} is empty")
        for name, least, most in (("max_new_tokens", 1, MOST_NEW_TOKENS), ("seed", 0, 2**53)):
            value = row.get(name)
            if value is not None and not (
                _is_number(value) and value == int(value) and least <= value <= most
            ):
                raise BadRequestError(f"row {place}: {name} must be a whole number from {least} to {most}")
        value = row.get("temperature")
        if value is not None and not (_is_number(value) and 0 <= value <= 100):
            raise BadRequestError(f"row {place}: temperature must be a number from 0 to 100")

    def _generate(self, rows: list[Row]) -> Answers:
        from models.generation import GenerationConfig, generate

        answers = []
        for row in rows:
            names = ("max_new_tokens", "seed", "temperature")
            given = {name: row[name] for name in names if row.get(name) is not None}
            config = GenerationConfig.model_validate(given)
            answers.append({"text": generate(self.model, self.tokenizer, row["text"], config)})
        return answers

    def _sentiment(self, rows: list[Row]) -> Answers:
        from models.classification import classify

        head, config, tokenizer = self.heads[SENTIMENT]
        found = classify(head, tokenizer, [row["text"] for row in rows], max_tokens=config.max_tokens)
        return [
            {
                "label": head.labels[int(probabilities.argmax())],
                "probabilities": dict(zip(head.labels, map(float, probabilities), strict=True)),
            }
            for probabilities in found
        ]

    def _question_answering(self, rows: list[Row]) -> Answers:
        from models.answering import answer

        head, config, tokenizer = self.heads[QUESTION_ANSWERING]
        questions, contexts = ([row[name] for row in rows] for name in ("question", "text"))
        return [
            {"answer": found.text, "start": int(found.start), "score": float(found.score)}
            for found in answer(head, tokenizer, questions, contexts, config=config)
        ]

    def _translation(self, rows: list[Row]) -> Answers:
        from models.translation import translate

        head, config, tokenizer = self.heads[TRANSLATION]
        found = translate(head, tokenizer, [row["text"] for row in rows], config=config)
        return [{"text": text} for text in found]


# A schema is given when the model is registered; MLflow asks for type hints nevertheless.
warnings.filterwarnings("ignore", message="(?s).*Add type hints to the `predict` method")


class Service(PythonModel):
    """The desk behind MLflow's scoring server and `mlflow.pyfunc.load_model`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle."""
        self._desk, self._lock = Desk(Path(context.artifacts[BUNDLE])), Lock()

    # MLflow takes type hints here for a schema and warns of those it does not know.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Answer a data frame or a list of dictionaries; what is wrong with it is told in one line."""
        try:
            rows = _rows(model_input)
            with self._lock:
                return self._desk.answer(rows)
        except BadRequestError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        except Exception:
            # The server would answer with a traceback, which tells strangers about this machine.
            logger.exception("a request could not be answered")
            raise MlflowException(
                "the model could not answer; see the server's log", INTERNAL_ERROR
            ) from None


def _rows(model_input: Any) -> list[Row]:
    """Rows as dictionaries without what is missing in them; a data frame has NaN there."""
    records = model_input.to_dict("records") if hasattr(model_input, "to_dict") else model_input
    records = [records] if isinstance(records, Mapping) else records
    if not isinstance(records, list) or not all(isinstance(record, Mapping) for record in records):
        raise BadRequestError("a request is a list of rows, each with a task and a text")
    if len(records) > MOST_ROWS:
        raise BadRequestError(f"{len(records)} rows, at most {MOST_ROWS} are answered at once")
    return [{str(name): value for name, value in record.items() if not _missing(value)} for record in records]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


set_model(Service())
