"""Hold what a stage wrote against its data contracts, and show every verdict where people look for it.

The suites are in ``expectations/``; `tasks.validation` does the looking. Here is what surrounds it: which file is
held to which suite, where the verdicts go, and what changed since the artefact before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tasks import durable
from tasks.canonical import canonical_json

# Where a page goes: its name, the HTML for MLflow, the Markdown for Prefect.
Publish = Callable[[str, str, str], None]
_SINCE = "Since the artefact before"


def honour(
    stage: str,
    folder: Path,
    contracts: Mapping[str, str],
    optional: Collection[str],
    former: Path | None,
    publish: Publish,
) -> dict[str, Any]:
    """Check every guarded file of a folder; verdicts are kept with the data, a critical failure stops the stage.

    Args:
        stage: the stage at work.
        folder: what it wrote.
        contracts: the suite of each guarded file.
        optional: those of the files that may be missing.
        former: the stage's artefact before, to tell what changed; None when there is none.
        publish: takes each verdict, also one that stops the stage.

    Raises:
        GateError: an expectation of critical severity failed.
        ConfigError: a suite is corrupt, or would pass without looking.
    """
    from tasks import contracts_diff, validation

    before = contracts_diff.read(former) if former else {}
    passed = {}
    for file, name in names(contracts).items():
        if file in optional and not (folder / file).exists():
            continue
        result = validation.check(contracts[file], folder / file, stage=stage)
        page, note = "", ""
        if name in before:
            changes = contracts_diff.compare({name: before[name]}, {name: result})
            page = f"<h2>{_SINCE}</h2>\n{contracts_diff.to_html(changes)}"
            note = f"\n## {_SINCE}\n\n{contracts_diff.to_markdown(changes)}"
        publish(name, validation.to_html(result, page), validation.to_markdown(result) + note)
        validation.raise_for_failure(result, stage)
        target = folder / "contracts" / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        durable.write(target, canonical_json(result.model_dump(mode="json"), indent=1))
        passed[name] = {"expectations": len(result.results), "rows": result.rows}
    return {"contracts": passed}


def names(contracts: Mapping[str, str]) -> dict[str, str]:
    """What the verdict on each file is called: its suite, and the file's first word where a suite has several."""
    uses = Counter(contracts.values())
    return {
        file: suite if uses[suite] == 1 else f"{suite}-{Path(file).name.split('.')[0]}"
        for file, suite in contracts.items()
    }
