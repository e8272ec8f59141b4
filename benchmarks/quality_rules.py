"""What the published rules would take, and how fast: `python -m benchmarks.quality_rules DOCUMENTS.parquet...`.

DOCUMENTS is ingestion's table of a run. Its documents are prepared as the cleaning stage does, and those that pass the
rules that are always on are held against each group, in every domain, with the published thresholds.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tasks import tables
from tasks.cleaning import c4
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.language import Language
from tasks.cleaning.page import Page
from tasks.cleaning.pool import Failure, Pool
from tasks.cleaning.published import RuleGroup
from tasks.cleaning.rules import build, first_finding
from tasks.cleaning.shingles import words

_ON = {"enabled": True, "domains": []}
_CONFIG = CleaningConfig.model_validate({"gopher": _ON, "c4": _ON, "fineweb": _ON})
_GROUPS: dict[str, RuleGroup] = {
    "MassiveText": _CONFIG.gopher,
    "C4": _CONFIG.c4,
    "FineWeb": _CONFIG.fineweb,
}


def main() -> None:
    """Print a table row for each file, domain and group."""
    print("| text | group | documents dropped | of bytes | lines taken | of bytes | MB/s | most by |")
    print("|---|---|---|---|---|---|---|---|")
    for path in map(Path, sys.argv[1:]):
        pages = list(_pages(path))
        for domain in sorted({page.domain for page in pages}):
            chosen = [page for page in pages if page.domain == domain]
            for name, group in _GROUPS.items():
                print(f"| {path.parent.name}, {domain} | {name} | {_judged(chosen, group)} |")


def _pages(path: Path) -> Iterator[Page]:
    """The documents that pass the rules that are always on."""
    plain = CleaningConfig()
    with Pool(plain.extraction, plain.personal_data.kinds) as pool:
        for raw, prepared in pool.prepare(tables.iterate(path)):
            if isinstance(prepared, Failure):
                continue
            page = _page(prepared.text, raw["domain"], prepared.language)
            if not first_finding(build(plain, page.domain), page):
                yield page


def _page(text: str, domain: str, language: Language) -> Page:
    return Page(text, domain, language, words(text))


def _judged(pages: list[Page], group: RuleGroup) -> str:
    """The cells of one group: what its lines took, and what its rules dropped of the rest."""
    dropped, taken = 0, Counter[str]()
    by_rule: Counter[str] = Counter()
    sizes = {"all": 0, "dropped": 0, "taken": 0}
    started = time.perf_counter()
    for page in pages:
        size, left = len(page.text.encode()), page
        if isinstance(group, c4.C4Rules):
            text, removed = c4.edit(page.text, group)
            taken += removed
            left = _page(text, page.domain, page.language)
        finding = first_finding(
            group.rules(page.domain), Page(left.text, left.domain, left.language, left.words)
        )
        sizes["all"] += size
        sizes["taken"] += size - len(left.text.encode())
        if finding:
            dropped += 1
            by_rule[finding.rule] += 1
            sizes["dropped"] += len(left.text.encode())
    seconds = time.perf_counter() - started
    most = ", ".join(f"{rule} {count}" for rule, count in by_rule.most_common(3))
    total = max(1, sizes["all"])
    return (
        f"{dropped:,} of {len(pages):,} | {sizes['dropped'] / total:.1%} | {taken.total():,} "
        f"| {sizes['taken'] / total:.1%} | {total / 1e6 / seconds:.1f} | {most}"
    )


if __name__ == "__main__":
    main()
