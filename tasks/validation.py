"""Hold a table against its data contract: Great Expectations does the looking, this module the judging.

Great Expectations passes on nothing (an empty table, a column of nulls), answers a missing column with a
stack of tracebacks, and its Data Docs print data values unescaped. So the suites are vetted
(`tasks.suites`), a check that could not be made counts as a critical failure, results name rows by id and
hold no text of the data, and the reports are our own (`tasks.contracts_report`). Importing this module
does not import Great Expectations.
"""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import suites, tables
from tasks.contracts_report import ContractResult as ContractResult
from tasks.contracts_report import ExpectationResult, describe
from tasks.contracts_report import to_html as to_html
from tasks.contracts_report import to_markdown as to_markdown
from tasks.errors import ArtifactError, GateError, one_line
from tasks.suites import Contract, Rule
from tasks.suites import digest as digest

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

# The context that Great Expectations made last is a global of the process.
_GLOBAL_CONTEXT = threading.Lock()

EXAMPLES = 5
"""Rows named for each failed expectation."""
LONGEST_VALUE = 80
"""Characters kept of an id or another value of the data."""


def check(suite: str, table: Path, *, stage: str) -> ContractResult:
    """Check a parquet table against `expectations/<suite>.json`.

    Args:
        suite: the suite's name.
        table: the parquet file; only the columns that the suite reads, and `id`, are loaded.
        stage: the stage at work, for errors.

    Raises:
        ConfigError: the suite is missing, corrupt, or would pass without looking.
        ArtifactError: the table cannot be read.
    """
    contract = suites.load(suite, stage=stage)
    built = suites.build(contract, stage=stage)
    columns = _column_names(table, stage)
    frame = _frame(table, _needed(contract, columns))
    found = _evaluate(built, frame)
    results = tuple(
        _judge(rule, found.get(n), frame, columns) for n, rule in enumerate(contract.expectations)
    )
    critical = [result for result in results if not result.success and result.severity == "critical"]
    return ContractResult(suite=suite, rows=len(frame), success=not critical, results=results)


def raise_for_failure(result: ContractResult, stage: str) -> None:
    """Stop on a critical failure; log what is only worth a warning.

    Raises:
        GateError: an expectation of critical severity failed; the message names it, the rows and the remedy.
    """
    for failure in (*result.failures("warning"), *result.failures("info")):
        level = logging.WARNING if failure.severity == "warning" else logging.INFO
        text = (
            f"{stage}: expectations/{result.suite}.json: {describe(failure, result.rows)}; {failure.remedy}"
        )
        logger.log(level, "%s", one_line(text))
    critical = result.failures("critical")
    if not result.success or critical:
        first, more = describe(critical[0], result.rows), len(critical) - 1
        others = f", and {more} more critical expectation{'s' if more > 1 else ''} failed" if more else ""
        where = f"expectations/{result.suite}.json"
        raise GateError(first + others, stage=stage, where=where, remedy=critical[0].remedy)


def _column_names(table: Path, stage: str) -> list[str]:
    try:
        return list(pq.read_schema(table).names)
    except (OSError, pa.ArrowException) as error:
        problem = f"cannot be read as a table ({error})"
        remedy = "delete its folder to have it rebuilt"
        raise ArtifactError(problem, stage=stage, where=table, remedy=remedy) from error


def _needed(contract: Contract, columns: list[str]) -> list[str]:
    named = {"id", *(column for rule in contract.expectations for column in rule.columns)}
    every = any(rule.looks_at_table_columns for rule in contract.expectations)
    return [column for column in columns if every or column in named]


def _frame(table: Path, columns: list[str]) -> pd.DataFrame:
    """Load columns into pandas; strings stay Arrow-backed, and each Arrow column is freed once converted."""
    arrow = tables.read_arrow(table, columns)
    rows = arrow.num_rows
    frame = arrow.to_pandas(split_blocks=True, self_destruct=True)
    # Positions, not labels, find the rows again; a table without any column still has its rows.
    positioned: pd.DataFrame = frame.set_axis(range(rows)) if columns else frame.reindex(range(rows))
    return positioned


def _evaluate(suite: Any, frame: pd.DataFrame) -> dict[int, Any]:
    """Run Great Expectations without a project folder, progress bars or telemetry; results by position."""
    import great_expectations as gx
    from great_expectations.data_context.types import base

    # Configured here because the default context makes a documentation site in $TMPDIR.
    settings = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    # Without index columns the rows at fault come back as positions, also where `id` is null or missing.
    wanted = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
    with _GLOBAL_CONTEXT:
        context = gx.get_context(mode="ephemeral", project_config=settings)
        asset = context.data_sources.add_pandas("tables").add_dataframe_asset(suite.name)
        try:
            definition = asset.add_batch_definition_whole_dataframe("whole")
            batch = definition.get_batch(batch_parameters={"dataframe": frame})
            outcome = batch.validate(suite, result_format=wanted)
        finally:
            context.data_sources.delete("tables")  # or the context would keep the frame in memory
    return {result.expectation_config.meta["position"]: result for result in outcome.results}


def _judge(rule: Rule, found: Any, frame: pd.DataFrame, columns: list[str]) -> ExpectationResult:
    """Turn one result of Great Expectations into ours; what was not checked is a critical failure."""
    missing = [column for column in rule.columns if column not in columns]
    error = _why_unchecked(found)
    checked = not missing and not error
    result = found.result if checked else {}
    success = checked and bool(found.success)
    count = result.get("unexpected_count")
    return ExpectationResult(
        expectation=rule.type,
        column=", ".join(rule.columns),
        kwargs=rule.kwargs,
        severity=rule.severity if checked else "critical",
        description=rule.description,
        remedy=rule.meta.get("remedy", "look these rows up in the stage's table and put their source right"),
        success=success,
        checked=checked,
        unexpected_count=None if count is None else int(count),
        unexpected_percent=None if count is None else round(100 * int(count) / max(len(frame), 1), 4),
        examples=() if success else tuple(_name_row(frame, n) for n in _positions(result)),
        observed=_observed(result.get("observed_value")),
        detail=_missing(missing) if missing else (error or _detail(result)),
    )


def _why_unchecked(found: Any) -> str:
    if found is None:
        return "could not be checked: Great Expectations gave no result"
    information = found.exception_info or {}
    nested = [value for value in information.values() if isinstance(value, dict)]
    for entry in (information, *nested):
        if entry.get("raised_exception"):
            lines = str(entry.get("exception_message") or "an unnamed error").strip().splitlines()
            return f"could not be checked: {_short(lines[0], 300)}"
    return ""


def _positions(result: dict[str, Any]) -> list[int]:
    return [int(position) for position in (result.get("partial_unexpected_index_list") or [])[:EXAMPLES]]


def _name_row(frame: pd.DataFrame, position: int) -> str:
    identifier = frame["id"].iloc[position] if "id" in frame else None
    empty = identifier is None or identifier != identifier or identifier == ""
    return f"row {position + 1}" if empty else _short(str(identifier))


def _missing(columns: list[str]) -> str:
    return f"the table has no column {', '.join(columns)}"


def _detail(result: dict[str, Any]) -> str:
    """What Great Expectations says beyond counts, as one phrase: missing values, surplus columns."""
    mismatched = (
        result.get("details", {}).get("mismatched", {}) if isinstance(result.get("details"), dict) else {}
    )
    facts = {
        "missing": result.get("partial_missing_list") or mismatched.get("missing"),
        "surplus": mismatched.get("unexpected"),
    }
    told = [f"{name}: {_listed(values)}" for name, values in facts.items() if values]
    return "; ".join(told)


def _observed(value: Any) -> str:
    """A number for people; lists are left to `_detail`, which names only what differs."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else "not a number"
    return f"{value:,}" if isinstance(value, int) else ""


def _listed(values: Any) -> str:
    shown = sorted(_short(str(value)) for value in values)
    return ", ".join(shown[:EXAMPLES]) + (", …" if len(shown) > EXAMPLES else "")


def _short(text: str, limit: int = LONGEST_VALUE) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
