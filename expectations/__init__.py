"""Custom Great Expectations classes: logic only, and only where no built-in expectation does the job.

Every threshold stands in the suite files beside this module, never as a default here: Great Expectations
does not write a subclass's defaults into the suite, which would make them invisible. Importing this
package takes as long as Great Expectations itself (5 to 9 seconds) and registers the classes, so it is
imported where a contract is checked and nowhere else. All of them run on pandas only.
"""

from __future__ import annotations

import unicodedata
from typing import Any, Literal

import numpy as np
import pandas as pd
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    BatchExpectation,
    ColumnMapExpectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_condition_partial import (
    multicolumn_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_map_metric_provider import (
    MulticolumnMapMetricProvider,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

__all__ = [
    "ExpectAnswersToBeSpansOfContext",
    "ExpectBytesPerTokenToBeBetween",
    "ExpectColumnTextToBeUnicodeNormalized",
    "ExpectSpansToBeContiguous",
]

_NO_ANSWER = -1


class _UnicodeNormalized(ColumnMapMetricProvider):
    condition_metric_name = "column_text.unicode_normalized"
    condition_value_keys = ("form",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, form: Any, **_: Any) -> pd.Series:  # noqa: N805
        # The quick check of the Unicode standard answers most texts without normalising them.
        return pd.Series([unicodedata.is_normalized(form, text) for text in column], column.index, dtype=bool)


class ExpectColumnTextToBeUnicodeNormalized(ColumnMapExpectation):
    """Expect every text of a column to be in the Unicode normal form `form` (UAX #15)."""

    form: Literal["NFC", "NFD", "NFKC", "NFKD"]

    map_metric = "column_text.unicode_normalized"
    success_keys = ("form", "mostly")
    args_keys = ("column", "form")


class _AnswersAreSpans(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.answers_are_spans"
    condition_value_keys = ()

    @multicolumn_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series:  # noqa: N805
        contexts, answers, starts = (column_list[name] for name in column_list.columns)
        found = [_is_span(*row) for row in zip(contexts, answers, starts, strict=True)]
        return pd.Series(found, column_list.index, dtype=bool)


def _is_span(context: Any, answer: Any, start: Any) -> bool:
    if pd.isna(context) or pd.isna(answer) or pd.isna(start):
        return False
    if not answer:
        return bool(start == _NO_ANSWER)
    return bool(start >= 0 and context.startswith(answer, int(start)))


class ExpectAnswersToBeSpansOfContext(MulticolumnMapExpectation):
    """Expect `context[answer_start:]` to begin with the answer, offsets counted in code points.

    A question that the context does not answer has an empty answer that starts at -1 (SQuAD 2).

    `column_list` names the context, the answer and the answer's start, in this order.
    """

    map_metric = "multicolumn_values.answers_are_spans"
    args_keys = ("column_list",)


class _SpansAreContiguous(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.spans_are_contiguous"
    condition_value_keys = ()

    @multicolumn_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series:  # noqa: N805
        starts, ends = (column_list[name] for name in column_list.columns)
        return starts == ends.shift(1, fill_value=0)


class ExpectSpansToBeContiguous(MulticolumnMapExpectation):
    """Expect half-open spans to tile a sequence: the first begins at 0, every other where the one above ends.

    `column_list` names the start and the end column, in this order.
    """

    map_metric = "multicolumn_values.spans_are_contiguous"
    args_keys = ("column_list",)


class _BytesPerToken(TableMetricProvider):
    metric_name = "table.bytes_per_token"
    value_keys = ("column_list",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> float:
        frame, *_rest = execution_engine.get_compute_domain(metric_domain_kwargs, MetricDomainTypes.TABLE)
        start, end, size = (frame[name] for name in metric_value_kwargs["column_list"])
        tokens = float((end - start).sum())
        return float(size.sum()) / tokens if tokens else float(np.nan)


class ExpectBytesPerTokenToBeBetween(BatchExpectation):
    """Expect a split's UTF-8 bytes per token, over all its documents, within two bounds.

    `column_list` names the first token, the end and the byte count of a document, in this order. A ratio that
    cannot be computed (no tokens) is a failure.
    """

    column_list: list[str]
    min_value: float
    max_value: float

    metric_dependencies = ("table.bytes_per_token",)
    success_keys = ("column_list", "min_value", "max_value")
    args_keys = ("column_list", "min_value", "max_value")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: Any = None,
    ) -> dict[str, Any]:
        ratio = metrics["table.bytes_per_token"]
        return {
            "success": bool(self.min_value <= ratio <= self.max_value),
            "result": {"observed_value": ratio},
        }
