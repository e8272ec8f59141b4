"""The gate itself: suites that could pass without looking are refused, and verdicts are exact."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import contracts_report, suites, validation
from tasks.errors import ArtifactError, ConfigError, GateError

SUITE: dict[str, Any] = {
    "name": "toy",
    "expectations": [
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "severity": "critical"},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "n"}, "severity": "critical"},
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "n", "max_value": 9},
            "severity": "critical",
            "description": "n is small",
            "meta": {"remedy": "make n smaller"},
        },
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "n"}, "severity": "warning"},
        {
            "type": "expect_column_max_to_be_between",
            "kwargs": {"column": "n", "max_value": 5},
            "severity": "info",
        },
    ],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of suites that holds the toy suite."""
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    (tmp_path / "toy.json").write_text(json.dumps(SUITE))
    return tmp_path


def table(folder: Path, **columns: list[Any]) -> Path:
    """Write a table of two columns: `id` and `n`."""
    columns.setdefault("id", [f"r{n}" for n in range(len(columns["n"]))])
    path = folder / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def altered(change: Callable[[dict[str, Any]], object]) -> str:
    """The toy suite's text after a change."""
    suite = json.loads(json.dumps(SUITE))
    change(suite)
    return json.dumps(suite)


def with_rule(**rule: Any) -> str:
    """The toy suite's text with one more expectation."""
    return altered(lambda suite: suite["expectations"].append(rule))


def without(position: int) -> str:
    """The toy suite's text with one expectation less."""
    return altered(lambda suite: suite["expectations"].pop(position))


def changed(position: int, **fields: Any) -> str:
    """The toy suite's text with one expectation changed."""
    return altered(lambda suite: suite["expectations"][position].update(fields))


NOT_NULL = "expect_column_values_to_not_be_null"
REFUSED = {
    "truncated": (json.dumps(SUITE)[:200], "not a readable suite"),
    "empty file": ("", "not a readable suite"),
    "a page": ("<html><body>502 Bad Gateway</body></html>", "not a readable suite"),
    "UTF-16": (json.dumps(SUITE).encode("utf-16").decode("latin-1"), "not a readable suite"),
    "not an object": ("[]", "the file"),
    "nested without end": ("[" * 100_000, "not a readable suite"),
    "NaN": (json.dumps(SUITE).replace('"max_value": 9', '"max_value": NaN'), "NaN is not JSON"),
    "key twice": (
        json.dumps(SUITE).replace('"kwargs"', '"kwargs": {}, "kwargs"', 1),
        "'kwargs' occurs twice",
    ),
    "no expectations": ('{"name": "toy", "expectations": []}', "row_count"),
    "old format": ('{"expectation_suite_name": "toy", "expectations": []}', "name: Field required"),
    "older version": (altered(lambda s: s.update(meta={"great_expectations_version": "0.18.22"})), "meta"),
    "old rule": (altered(lambda s: s["expectations"][0].update(expectation_type="x")), "expectations.0"),
    "another name": (altered(lambda s: s.update(name="other")), "'other'"),
    "no severity": (altered(lambda s: s["expectations"][1].pop("severity")), "expectations.1.severity"),
    "odd severity": (changed(1, severity="fatal"), "expectations.1.severity"),
    "unknown type": (
        with_rule(type="expect_column_values_to_be_lovely", kwargs={"column": "n"}, severity="critical"),
        "expect_column_values_to_be_lovely",
    ),
    "unknown argument": (changed(3, kwargs={"column": "n", "max_vlaue": 9}), "max_vlaue"),
    "missing argument": (
        with_rule(type="expect_column_values_to_be_in_set", kwargs={}, severity="info"),
        "column",
    ),
    "no row count": (without(0), "an empty table would pass"),
    "row count of 0": (changed(0, kwargs={"min_value": 0}), "an empty table would pass"),
    "no least row count": (changed(0, kwargs={"max_value": 5}), "an empty table would pass"),
    "row count warns": (changed(0, severity="warning"), "an empty table would pass"),
    "no id": (without(1), "on `id`"),
    "id warns": (changed(1, severity="warning"), "on `id`"),
    "id mostly": (changed(1, kwargs={"column": "id", "mostly": 0.99}), "on `id`"),
    "id sometimes": (changed(1, kwargs={"column": "id", "row_condition": "n > 5"}), "on `id`"),
    "nulls unseen": (without(2), "on `n`, which it inspects"),
    "nulls warn": (changed(2, severity="info"), "on `n`, which it inspects"),
    "mostly 0": (changed(2, kwargs={"column": "n", "mostly": 0}), "mostly"),
    "column is no name": (changed(2, kwargs={"column": ["n"]}), "columns are given by their names"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_suite_that_could_pass_without_looking_is_refused(case: str, folder: Path) -> None:
    text, reason = REFUSED[case]
    (folder / "toy.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError) as caught:
        validation.check("toy", table(folder, n=[1, 2]), stage="cleaning")
    message = str(caught.value)
    assert reason in message and "\n" not in message
    assert message.startswith("cleaning: expectations/toy.json: ")
    assert caught.value.exit_code == 2 and caught.value.remedy


def test_an_expectation_that_great_expectations_drops_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from great_expectations.core import expectation_suite

    class Forgetful(expectation_suite.ExpectationSuite):
        def __init__(self, name: str, expectations: list[Any]) -> None:
            super().__init__(name=name, expectations=expectations[:3] + expectations[4:])

    monkeypatch.setattr(expectation_suite, "ExpectationSuite", Forgetful)
    with pytest.raises(
        ConfigError, match="kept 5 of 6 expectations and dropped expect_column_values_to_be_between"
    ):
        validation.check("toy", table(folder, n=[1, 2]), stage="cleaning")


def test_an_expectation_without_a_result_is_a_critical_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = validation._evaluate

    def lossy(suite: Any, frame: Any) -> dict[int, Any]:
        return {n: found for n, found in evaluate(suite, frame).items() if n != 4}

    monkeypatch.setattr(validation, "_evaluate", lossy)
    result = validation.check("toy", table(folder, n=[1, 2]), stage="cleaning")
    assert not result.success and "no result" in result.results[4].detail


@pytest.mark.parametrize("name", ["nothing", "../toy", "toy.json", "", "Toy", "/etc/passwd"])
def test_only_suites_of_the_folder_are_read(name: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match="use one of: toy"):
        validation.digest(name)


def test_the_digest_is_that_of_the_file_and_changes_with_it(folder: Path) -> None:
    before = validation.digest("toy")
    assert re.fullmatch("[0-9a-f]{64}", before) and validation.digest("toy") == before
    (folder / "toy.json").write_text(changed(3, kwargs={"column": "n", "max_value": 10}))
    assert validation.digest("toy") != before


def test_a_passed_check_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = validation.check("toy", table(folder, n=[1, 2, 3]), stage="cleaning")
    assert result.success and result.rows == 3
    with caplog.at_level(logging.INFO, "tasks.validation"):
        validation.raise_for_failure(result, "cleaning")
    assert caplog.records == []


def test_a_critical_failure_names_expectation_column_rows_and_remedy_in_one_line(folder: Path) -> None:
    path = table(folder, n=[*range(8), 10, 11, 12], id=[*(f"r{n}" for n in range(9)), "bad\nid", None])
    with pytest.raises(ArtifactError):
        validation.check("toy", folder / "nowhere.parquet", stage="cleaning")
    result = validation.check("toy", path, stage="cleaning")
    with pytest.raises(GateError) as caught:
        validation.raise_for_failure(result, "cleaning")
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "cleaning: expectations/toy.json: expect_column_values_to_not_be_null on id failed for 1 of 11 rows "
        "(first: row 11), and 1 more critical expectation failed; "
        "look these rows up in the stage's table and put their source right"
    )
    second = result.failures("critical")[1]
    assert contracts_report.describe(second, result.rows) == (
        "expect_column_values_to_be_between on n failed for 3 of 11 rows (first: r8, bad\nid, row 11)"
    )
    assert second.unexpected_percent == pytest.approx(27.2727) and second.remedy == "make n smaller"


def test_the_message_stays_one_line_whatever_the_ids(folder: Path) -> None:
    hostile = ["line\nERROR forged record", "\x1b[31mred", "user\u202etxt.exe", "a\u2028b"]
    path = table(folder, n=[10, 11, 12, 13], id=hostile)
    with pytest.raises(GateError) as caught:
        validation.raise_for_failure(validation.check("toy", path, stage="cleaning"), "cleaning")
    assert str(caught.value).isprintable()


def test_warnings_are_logged_one_line_each_and_not_raised(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = table(folder, n=[7, 7], id=["a\nforged record", "b"])
    result = validation.check("toy", path, stage="cleaning")
    assert result.success
    with caplog.at_level(logging.INFO, "tasks.validation"):
        validation.raise_for_failure(result, "cleaning")
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "INFO"]
    assert (
        "expect_column_values_to_be_unique on n failed for 2 of 2 rows (first: a\\u000aforged record, b)"
        in told[0][1]
    )
    assert "observed 7" in told[1][1]
    assert all(message.isprintable() for _, message in told)


def test_few_examples_are_kept_and_long_ids_are_cut(folder: Path) -> None:
    result = validation.check("toy", table(folder, n=[99] * 40, id=["x" * 500] * 40), stage="cleaning")
    found = result.results[3]
    assert found.unexpected_count == 40
    assert found.examples == ("x" * 79 + "…",) * validation.EXAMPLES


def test_a_check_that_cannot_be_made_is_critical_whatever_its_severity(folder: Path) -> None:
    path = table(folder, n=["one", "two"])
    result = validation.check("toy", path, stage="cleaning")
    broken = [found for found in result.results if not found.checked]
    assert broken and {found.severity for found in broken} == {"critical"}
    assert all(found.detail.startswith("could not be checked: ") for found in broken)
    with pytest.raises(GateError, match="could not be checked"):
        validation.raise_for_failure(result, "cleaning")


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda b: b"", lambda b: b"<html>" + b])
def test_a_damaged_table_is_an_error_that_names_it(damage: Callable[[bytes], bytes], folder: Path) -> None:
    path = table(folder, n=[1, 2])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError, match=r"table\.parquet"):
        validation.check("toy", path, stage="cleaning")


def test_only_the_columns_that_the_suite_names_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    frame = validation._frame

    def spy(path: Path, columns: list[str]) -> Any:
        read.append(columns)
        return frame(path, columns)

    monkeypatch.setattr(validation, "_frame", spy)
    validation.check("toy", table(folder, n=[1, 2], heavy=["x" * 10_000] * 2), stage="cleaning")
    assert read == [["n", "id"]]


def test_results_are_json_and_the_same_on_every_run_and_in_the_suites_order(folder: Path) -> None:
    path = table(folder, n=[1, 1, 50, None])
    runs = [validation.check("toy", path, stage="cleaning") for _ in range(3)]
    texts = {run.model_dump_json() for run in runs}
    pages = {(validation.to_html(run), validation.to_markdown(run)) for run in runs}
    assert len(texts) == len(pages) == 1
    assert json.loads(json.dumps(runs[0].model_dump(mode="json"), allow_nan=False)) == json.loads(texts.pop())
    assert [found.expectation for found in runs[0].results] == [
        rule["type"] for rule in SUITE["expectations"]
    ]
    assert [found.success for found in runs[0].results] == [True, True, False, False, False, False]


def test_the_table_is_left_as_it_was_and_no_frame_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc
    import weakref

    frames = []
    frame = validation._frame

    def spy(path: Path, columns: list[str]) -> Any:
        made = frame(path, columns)
        frames.append(weakref.ref(made))
        return made

    monkeypatch.setattr(validation, "_frame", spy)
    path = table(folder, n=[1, 2])
    before, names = path.read_bytes(), sorted(folder.iterdir())
    validation.check("toy", path, stage="cleaning")
    gc.collect()
    assert frames[0]() is None
    assert path.read_bytes() == before and sorted(folder.iterdir()) == names


def test_reports_of_a_real_check_name_the_rows(folder: Path) -> None:
    result = validation.check("toy", table(folder, n=[1, 50]), stage="cleaning")
    for text in (validation.to_html(result), validation.to_markdown(result)):
        assert "r1" in text and "failed" in text and "n is small" in text
        assert "4 of 6 expectations met by 2 rows." in text


def test_importing_the_module_does_not_import_great_expectations() -> None:
    code = (
        "import sys, tasks.validation as v; v.digest('raw_documents'); "
        "print(sorted({'great_expectations', 'expectations', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
