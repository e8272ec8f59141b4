"""What changed between two readings of the same data contracts: an expectation broken, mended, new or gone.

A contract that passes twice may still tell of trouble: twice as many rows at fault under a `mostly`, a mean
that crept towards its bound, half of the rows. So observations are compared, not verdicts alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.artifacts import canonical_json
from tasks.contracts_report import ContractResult, ExpectationResult, escape_html, escape_markdown
from tasks.errors import ArtifactError

Kind = Literal["broken", "mended", "terms", "rows at fault", "observation", "rows", "new", "gone"]
ORDER: tuple[Kind, ...] = (
    "broken",
    "mended",
    "terms",
    "rows at fault",
    "observation",
    "rows",
    "new",
    "gone",
)


class Change(BaseModel):
    """One difference. ``expectation`` is empty when it is about a table as a whole or a whole contract."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    contract: str
    expectation: str
    column: str
    before: str
    now: str

    @property
    def about(self) -> str:
        """The contract, the expectation and the column, as far as there are any."""
        told = " ".join(part for part in (self.contract, self.expectation) if part)
        return f"{told} on {self.column}" if self.column else told


def read(artifact: Path) -> dict[str, ContractResult]:
    """The verdicts that lie with a stage's data, by the name of their file; none if it has no contract.

    Raises:
        ArtifactError: a verdict cannot be read.
    """
    found = {}
    for path in sorted((artifact / "contracts").glob("*.json")):
        try:
            found[path.stem] = ContractResult.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError("is no verdict of a contract", where=path) from error
    return found


def compare(before: Mapping[str, ContractResult], now: Mapping[str, ContractResult]) -> list[Change]:
    """Every difference between two sets of verdicts, the gravest kind first."""
    changes = [
        *(_whole("gone", name, before[name], None) for name in before.keys() - now.keys()),
        *(_whole("new", name, None, now[name]) for name in now.keys() - before.keys()),
    ]
    for name in before.keys() & now.keys():
        changes += _between(name, before[name], now[name])
    return sorted(changes, key=lambda change: (ORDER.index(change.kind), change.about))


def to_markdown(changes: list[Change]) -> str:
    """The differences as a Markdown table, with values of the data made harmless."""
    if not changes:
        return "Nothing changed since the artefact before.\n"
    head = "| change | contract | before | now |\n| --- | --- | --- | --- |\n"
    rows = ("| " + " | ".join(map(escape_markdown, _cells(change))) + " |\n" for change in changes)
    return head + "".join(rows)


def to_html(changes: list[Change]) -> str:
    """The differences as a fragment of a page, with values of the data made harmless."""
    if not changes:
        return "<p>Nothing changed since the artefact before.</p>\n"
    rows = ("".join(f"<td>{escape_html(cell)}</td>" for cell in _cells(change)) for change in changes)
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    head = "<tr><th>change</th><th>contract</th><th>before</th><th>now</th></tr>"
    return f"<table>\n{head}\n{body}</table>\n"


def _cells(change: Change) -> tuple[str, str, str, str]:
    return change.kind, change.about, change.before, change.now


def _whole(kind: Kind, name: str, before: ContractResult | None, now: ContractResult | None) -> Change:
    told = [f"{len(r.results)} expectations, {r.rows:,} rows" if r else "" for r in (before, now)]
    return Change(kind=kind, contract=name, expectation="", column="", before=told[0], now=told[1])


def _between(name: str, before: ContractResult, now: ContractResult) -> Iterator[Change]:
    if before.rows != now.rows:
        yield _change("rows", name, None, f"{before.rows:,}", f"{now.rows:,}")
    former, current = _by_identity(before), _by_identity(now)
    for key in former.keys() - current.keys():
        yield _change("gone", name, former[key], _state(former[key]), "")
    for key in current.keys() - former.keys():
        yield _change("new", name, current[key], "", _state(current[key]))
    for key in former.keys() & current.keys():
        yield from _expectation(name, former[key], current[key])


def _expectation(name: str, before: ExpectationResult, now: ExpectationResult) -> Iterator[Change]:
    terms = [_terms(result) for result in (before, now)]
    if terms[0] != terms[1]:
        yield _change("terms", name, now, *terms)
    if before.success != now.success:
        kind: Kind = "mended" if now.success else "broken"
        yield _change(kind, name, now, _state(before), _state(now))
    elif before.unexpected_count != now.unexpected_count:
        yield _change("rows at fault", name, now, _state(before), _state(now))
    elif before.observed != now.observed and now.expectation != "expect_table_row_count_to_be_between":
        yield _change("observation", name, now, before.observed, now.observed)


def _by_identity(result: ContractResult) -> dict[tuple[str, str, int], ExpectationResult]:
    """Expectations by type and column; of several alike, their order tells them apart."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for entry in result.results:
        key = entry.expectation, entry.column
        found[*key, seen[key]] = entry
        seen[key] += 1
    return found


def _terms(result: ExpectationResult) -> str:
    return f"{result.severity} {canonical_json(result.kwargs)}"


def _state(result: ExpectationResult) -> str:
    told = "passed" if result.success else "failed"
    if result.unexpected_count:
        told += f", {result.unexpected_count:,} rows ({result.unexpected_percent or 0:g} %)"
    return f"{told}, observed {result.observed}" if result.observed else told


def _change(kind: Kind, name: str, result: ExpectationResult | None, before: str, now: str) -> Change:
    expectation, column = (result.expectation, result.column) if result else ("", "")
    return Change(kind=kind, contract=name, expectation=expectation, column=column, before=before, now=now)
