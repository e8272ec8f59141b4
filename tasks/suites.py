"""Read a data contract from `expectations/`, and refuse one that would pass without looking.

Great Expectations drops an expectation whose type or severity it does not know and goes on (its suite's
constructor catches the error), calls every column check on an empty table a success, and ignores nulls in
all of them. So a suite must say its severities, demand at least one row and a non-null `id`, and pair
every column that it inspects with a not-null expectation; and what Great Expectations built is compared
with what the file says.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tasks.errors import ConfigError

if TYPE_CHECKING:
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.expectations.expectation import Expectation

FOLDER = Path(__file__).resolve().parents[1] / "expectations"
ROW_COUNT = "expect_table_row_count_to_be_between"
NOT_NULL = "expect_column_values_to_not_be_null"
REMEDY = "restore the suite file from the repository, or correct it"

Severity = Literal["critical", "warning", "info"]


class Rule(BaseModel):
    """One expectation as the suite file writes it; nothing has a default that could hide a threshold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    kwargs: dict[str, Any]
    severity: Severity
    description: str = ""
    meta: dict[str, str] = {}

    @field_validator("kwargs")
    @classmethod
    def _usable(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        columns = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
        listed = kwargs.get("column_list", [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in [*columns, *listed]):
            raise ValueError("columns are given by their names")
        if "mostly" in kwargs and not 0 < _number(kwargs["mostly"]) <= 1:
            raise ValueError("mostly is a share above 0 and up to 1")
        return kwargs

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns whose values the expectation reads."""
        single = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return (*single, *self.kwargs.get("column_list", ()))

    @property
    def looks_at_table_columns(self) -> bool:
        """Whether the expectation is about which columns there are, so that all of them must be read."""
        return self.type.startswith("expect_table_column")


class Contract(BaseModel):
    """A suite file: its name, what it is for, and its expectations in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    notes: str = ""
    expectations: tuple[Rule, ...]


def path(suite: str) -> Path:
    """The file of a suite.

    Raises:
        ConfigError: there is no suite of that name.
    """
    file = FOLDER / f"{suite}.json"
    if not re.fullmatch(r"[a-z][a-z_]*", suite) or not file.is_file():
        known = ", ".join(sorted(found.stem for found in FOLDER.glob("*.json")))
        raise ConfigError(f"there is no suite {suite!r}", where="expectations", remedy=f"use one of: {known}")
    return file


def digest(suite: str) -> str:
    """SHA-256 of the suite file, which belongs in the fingerprint of the stage it guards."""
    return hashlib.sha256(path(suite).read_bytes()).hexdigest()


def load(suite: str, *, stage: str = "") -> Contract:
    """Read a suite file and hold it to the project's law (see the module).

    Raises:
        ConfigError: the file is not JSON, not a suite, or a suite that could pass without looking.
    """
    file = path(suite)
    try:
        raw = json.loads(
            file.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant
        )
        contract = Contract.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _refusal(suite, stage, f"{place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _refusal(suite, stage, f"is not a readable suite ({error})") from error
    if problems := _loopholes(contract, suite):
        raise _refusal(suite, stage, problems[0])
    return contract


def build(contract: Contract, *, stage: str = "") -> ExpectationSuite:
    """Turn a contract into a Great Expectations suite; `meta["position"]` finds each result's place again.

    Raises:
        ConfigError: an expectation is of an unknown type, has unknown or missing arguments, or was dropped.
    """
    from great_expectations.core.expectation_suite import ExpectationSuite

    rules = [_expectation(contract.name, stage, n, rule) for n, rule in enumerate(contract.expectations)]
    suite = ExpectationSuite(name=contract.name, expectations=list(rules))
    wanted = [rule.type for rule in contract.expectations]
    built = [expectation.expectation_type for expectation in suite.expectations]
    if built != wanted:
        lost = [kind for kind in wanted if kind not in built] or wanted
        raise _refusal(
            contract.name,
            stage,
            f"Great Expectations kept {len(built)} of {len(wanted)} expectations and dropped {lost[0]}",
        )
    return suite


def _expectation(suite: str, stage: str, position: int, rule: Rule) -> Expectation:
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    import expectations  # noqa: F401 - registers the project's own classes

    try:
        return ExpectationConfiguration(
            type=rule.type,
            kwargs=dict(rule.kwargs),
            severity=FailureSeverity(rule.severity),
            meta={"position": position},
        ).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:
        message = " ".join(str(error).split())
        problem = f"expectations.{position}: {rule.type} cannot be built ({message})"
        raise _refusal(suite, stage, problem) from error


def _loopholes(contract: Contract, suite: str) -> list[str]:
    """Ways in which a suite would let a bad table pass, first the ones that matter most."""
    problems = [] if contract.name == suite else [f"is named {contract.name!r}, not after its file"]
    if not any(_demands_a_row(rule) for rule in contract.expectations):
        problems.append(f"has no critical {ROW_COUNT} with min_value of 1 or more: an empty table would pass")
    filled = {rule.kwargs.get("column"): rule for rule in contract.expectations if _demands_values(rule)}
    if "id" not in filled or filled["id"].kwargs.get("mostly", 1) != 1:
        problems.append(f"has no critical {NOT_NULL} on `id` that holds for every row")
    inspected = dict.fromkeys(column for rule in contract.expectations for column in rule.columns)
    problems += [
        f"has no critical {NOT_NULL} on `{column}`, which it inspects: a column of nulls would pass"
        for column in inspected
        if column not in filled
    ]
    return problems


def _demands_a_row(rule: Rule) -> bool:
    least = _number(rule.kwargs.get("min_value"))
    return rule.type == ROW_COUNT and _unconditional(rule) and least >= 1


def _demands_values(rule: Rule) -> bool:
    return rule.type == NOT_NULL and _unconditional(rule)


def _unconditional(rule: Rule) -> bool:
    return rule.severity == "critical" and not rule.kwargs.get("row_condition")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _refusal(suite: str, stage: str, problem: str) -> ConfigError:
    return ConfigError(problem, stage=stage, where=f"expectations/{suite}.json", remedy=REMEDY)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} occurs twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
