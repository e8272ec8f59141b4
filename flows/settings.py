"""One typed configuration describes a run; a YAML file starts from a preset and changes what it names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from models.budget import BudgetConfig
from tasks.cleaning.config import CleaningConfig
from tasks.config import StageConfig
from tasks.drift import DriftConfig
from tasks.embeddings import EmbeddingsConfig
from tasks.errors import ConfigError
from tasks.evaluation.config import EvaluationConfig
from tasks.finetuning.question_answering import QuestionAnsweringConfig
from tasks.finetuning.sentiment import SentimentConfig
from tasks.finetuning.translation import TranslationConfig
from tasks.promotion.config import PromotionConfig
from tasks.reporting.config import ReportingConfig
from tasks.sources.config import IngestionConfig
from tasks.tokenization import TokenizationConfig
from tasks.training import PretrainingConfig

MAX_CONFIG_BYTES = 1 << 20
# Named at the top of a YAML file for the reader's sake; they belong to ingestion.
_INGESTION_KEYS = ("sources", "labelled")


class HeadsConfig(StageConfig):
    """The three fine-tunings; one whose labelled set is not there is left out."""

    sentiment: SentimentConfig = Field(SentimentConfig(), description="One label for a text.")
    question_answering: QuestionAnsweringConfig = Field(
        QuestionAnsweringConfig(), description="The span of a context that answers a question, or none."
    )
    translation: TranslationConfig = Field(TranslationConfig(), description="A text in another language.")


class RetrainingConfig(StageConfig):
    """How training goes on from the champion, and when the corpus calls for it."""

    steps: int = Field(300, ge=1, le=100_000_000, description="Optimiser steps of a continued training.")
    learning_rate_scale: float = Field(
        0.3, gt=0.0, le=1.0, description="Peak rates as a share of those from scratch."
    )
    replay: float = Field(
        1.0, ge=0.0, le=1000.0, description="Bytes of known text to read again per byte of new text."
    )
    drift: DriftConfig = Field(DriftConfig(), description="When the corpus counts as moved.")


class RunConfig(StageConfig):
    """Everything that describes a run: the configuration of each stage."""

    ingestion: IngestionConfig = Field(description="Where text and labelled examples come from.")
    cleaning: CleaningConfig = Field(
        description="What is standardised, what is dropped, how the rest is split."
    )
    tokenization: TokenizationConfig = Field(description="The vocabulary.")
    embeddings: EmbeddingsConfig = Field(description="Static word vectors.")
    pretraining: PretrainingConfig = Field(description="The network and its training.")
    finetuning: HeadsConfig = Field(HeadsConfig(), description="The tasks it learns from labels.")
    evaluation: EvaluationConfig = Field(description="What is measured, on how much text.")
    reporting: ReportingConfig = Field(description="The report.")
    promotion: PromotionConfig = Field(PromotionConfig(), description="What a challenger must show.")
    retraining: RetrainingConfig = Field(RetrainingConfig(), description="Going on from the champion.")
    budget: BudgetConfig = Field(BudgetConfig(), description="Caps of each training, and prices.")


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings; its relative paths are taken from its own folder.

    Raises:
        ConfigError: the file is missing, too large, not YAML, or not a mapping.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(
                f"is larger than {MAX_CONFIG_BYTES} bytes", where=path, remedy="is it the right file?"
            )
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoAliases)  # noqa: S506 - a SafeLoader
    except FileNotFoundError as error:
        raise ConfigError("no such file", where=path, remedy="check the path given to --config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=path, remedy="give a UTF-8 YAML file") from error
    except (yaml.YAMLError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = path if line is None else f"{path}:{line + 1}"
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"is not valid YAML ({problem})", where=where, remedy="mend the file") from error
    if not isinstance(document, dict):
        raise ConfigError(
            "holds no settings", where=path, remedy="write `extends: smoke` and what you want changed"
        )
    settings: dict[str, Any] = _absolute_paths(document, path.resolve().parent)
    return settings


def override(settings: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Apply ``key.path=value`` assignments (the value is read as YAML) over settings.

    Raises:
        ConfigError: an assignment has no ``=`` or an empty key.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(
                "is not key.path=value",
                where=f"--set {assignment}",
                remedy="e.g. --set pretraining.training.steps=100",
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                "the value is not valid YAML", where=f"--set {assignment}", remedy="quote it"
            ) from error
        for part in reversed(key.split(".")):
            value = {part: value}
        settings = merge(settings, value)
    return settings


def resolve(base: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Change what the settings name in a complete configuration and check the whole.

    Raises:
        ConfigError: one line naming the key's path, what is wrong and what to do.
    """
    changes = {key: value for key, value in settings.items() if key != "extends"}
    moved = {
        key: changes.pop(key) for name in _INGESTION_KEYS for key in (name, f"+{name}") if key in changes
    }
    if moved:
        changes["ingestion"] = {**(changes.get("ingestion") or {}), **moved}
    try:
        return RunConfig.model_validate(merge(base.model_dump(), changes))
    except ValidationError as error:
        raise _explained(error) from error


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings recursively; other values replace, and ``+name`` appends to a list."""
    merged = dict(base)
    for key, value in changes.items():
        plain = str(key).removeprefix("+")
        former = merged.get(plain)
        if str(key).startswith("+") and isinstance(value, list | tuple):
            merged[plain] = [*(former or ()), *value]
        elif isinstance(value, Mapping) and isinstance(former, Mapping):
            merged[plain] = merge(former, value)
        else:
            merged[plain] = value
    return merged


class _NoAliases(yaml.SafeLoader):
    """A safe loader that refuses anchors, with which a small file can grow into gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias, compose anything else."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def _absolute_paths(value: Any, folder: Path) -> Any:
    """Make the path of every file source absolute, so that a flow may run in another folder."""
    if isinstance(value, list):
        return [_absolute_paths(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _absolute_paths(item, folder) for key, item in value.items()}
    if found.get("type") in ("files", "huggingface") and isinstance(found.get("path"), str):
        found["path"] = str(folder / Path(found["path"]).expanduser())
    return found


def _explained(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] != "extra_forbidden":
        return ConfigError(
            f"{first['msg']}{more}", where=path, remedy="see the field's description and bounds"
        )
    near = difflib.get_close_matches(str(first["loc"][-1]), _names_beside(first["loc"]), n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]!r}?" if near else "remove it; `unveil status --json` shows every key"
    return ConfigError(f"unknown key{more}", where=path, remedy=remedy)


def _names_beside(location: tuple[int | str, ...]) -> list[str]:
    model: Any = RunConfig
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(str(part))
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))
