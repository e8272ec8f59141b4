"""Archives made to write elsewhere, to exhaust, or to show two readers two things: eight kinds, tar and zip."""

from __future__ import annotations

import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives_of_ours import COMPRESSORS, tar_of, zip_of

from tasks.sources import files, unpacking
from tasks.sources.config import FilesSource
from tasks.sources.outcomes import Bad, Kept, Outcome

LIMIT = 1 << 20
CANARY = b"canary"
GOOD = ("good.txt", b"good")
LONG = "/".join(["d" * 247] * 16)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def linked(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


def read(path: Path) -> list[Outcome]:
    source = FilesSource(path=str(path), domain="web", licence="MIT")
    return list(files.read(source, files.interpreter(source, LIMIT), LIMIT))


def told(outcomes: list[Outcome]) -> tuple[list[str], list[str]]:
    return (
        [kept.values["text"] for kept in outcomes if isinstance(kept, Kept)],
        [bad.rule for bad in outcomes if isinstance(bad, Bad)],
    )


HOSTILE_TARS: dict[str, tuple[list[tuple[str | tarfile.TarInfo, bytes]], list[str]]] = {
    "parent": ([("../canary.txt", CANARY), ("a/../../canary.txt", CANARY)], ["archive-path"] * 2),
    "absolute": ([("{outside}/canary.txt", CANARY), ("C:/canary.txt", CANARY)], ["archive-path"] * 2),
    "backslash": ([("..\\canary.txt", CANARY)], ["archive-path"]),
    "symlink": (
        [(special("out", tarfile.SYMTYPE, "{outside}"), b""), ("out/canary.txt", CANARY)],
        ["archive-link"],
    ),
    "hardlink": ([(special("a.txt", tarfile.LNKTYPE, "/etc/passwd"), b"")], ["archive-link"]),
    "devices": (
        [
            (special(f"{kind!r}.txt", kind), b"")
            for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
        ],
        ["archive-link"] * 3,
    ),
    "sparse": ([(special("holes.txt", tarfile.GNUTYPE_SPARSE), b"")], ["archive-link"]),
    "long path": (
        [
            (special(LONG, tarfile.DIRTYPE), b""),
            (special(f"{LONG}/link", tarfile.SYMTYPE, "../" * 16), b""),
            (special("escape", tarfile.SYMTYPE, f"{LONG}/link/../../outside"), b""),
            (f"{LONG}/canary.txt", CANARY),
        ],
        ["archive-path", "archive-link", "archive-path"],
    ),
    "duplicate": ([("a.txt", b"one"), ("./a.txt", b"two")], ["archive-duplicate"]),
}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("case", HOSTILE_TARS)
def test_a_hostile_tar_is_quarantined_and_writes_nothing(tmp_path: Path, case: str, name: str) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for folder in (outside, inside):
        folder.mkdir()
    entries, expected = HOSTILE_TARS[case]
    placed: list[tuple[str | tarfile.TarInfo, bytes]] = [
        (
            e.format(outside=outside)
            if isinstance(e, str)
            else special(e.name, e.type, e.linkname.format(outside=outside)),
            d,
        )
        for e, d in entries
    ]
    path = tar_of(inside / name, [*placed, GOOD])
    before = path.read_bytes()
    texts, rules = told(read(path))
    assert rules == expected
    assert texts[-1] == "good"
    assert len(texts) + len(rules) == sum(not getattr(e, "isdir", bool)() for e, _ in entries) + 1
    assert sorted(tmp_path.rglob("*")) == sorted([outside, inside, path]), "nothing was written anywhere"
    assert path.read_bytes() == before


HOSTILE_ZIPS: dict[str, tuple[list[tuple[str | zipfile.ZipInfo, bytes]], list[str]]] = {
    "parent": ([("../canary.txt", CANARY), ("a/../../canary.txt", CANARY)], ["archive-path"] * 2),
    "absolute": ([("/tmp/canary.txt", CANARY), ("C:canary.txt", CANARY)], ["archive-path"] * 2),
    "backslash": ([("..\\canary.txt", CANARY)], ["archive-path"]),
    "symlink": ([(linked("out"), b"/etc"), ("out/canary.txt", CANARY)], ["archive-link"]),
    "long path": ([(f"{LONG}/canary.txt", CANARY), ("x" * 256 + ".txt", CANARY)], ["archive-path"] * 2),
    "duplicate": ([("a.txt", b"one"), ("a.txt", b"two")], ["archive-duplicate"]),
}


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
def test_a_hostile_zip_is_quarantined_and_writes_nothing(tmp_path: Path, case: str) -> None:
    entries, expected = HOSTILE_ZIPS[case]
    path = zip_of(tmp_path / "a.zip", [*entries, GOOD])
    texts, rules = told(read(path))
    assert (rules, texts[-1]) == (expected, "good")
    assert len(texts) + len(rules) == len(entries) + 1
    assert [*tmp_path.rglob("*")] == [path], "nothing was written anywhere"
    assert not Path("/tmp/canary.txt").exists()


def test_a_nul_in_a_name_does_not_shorten_it(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", [("a.txt_.png", b"text"), GOOD])
    path.write_bytes(path.read_bytes().replace(b"a.txt_.png", b"a.txt\x00.png"))
    assert told(read(path)) == (["good"], ["archive-path"])
    assert "\x00" not in read(path)[0].uri  # type: ignore[union-attr]


def test_a_tar_of_a_million_entries_ends_at_the_limit(tmp_path: Path) -> None:
    folder = special("folder", tarfile.DIRTYPE).tobuf()
    packed = COMPRESSORS["gz"](folder * 10_000)
    good = tarfile.TarInfo("good.txt")
    good.size = 4
    first = COMPRESSORS["gz"](good.tobuf() + b"good".ljust(512, b"\x00"))
    (tmp_path / "a.tar.gz").write_bytes(first + packed * 100)
    assert told(read(tmp_path / "a.tar.gz")) == (["good"], ["archive-members"])


def test_a_zip_of_a_million_entries_is_not_even_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", *(20, 20, 0, 0, 0, 0), *(0, 0, 0), *(5, 0, 0, 0, 0), 0, 0
    )
    directory = (entry + b"a.txt") * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    (tmp_path / "a.zip").write_bytes(directory + end)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert told(read(tmp_path / "a.zip")) == ([], ["archive-members"])


def test_many_members_end_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)
    entries = [(f"{n}.txt", b"text") for n in range(5)]
    for path in (zip_of(tmp_path / "a.zip", [*entries]), tar_of(tmp_path / "a.tar", [*entries])):
        assert told(read(path)) == (["text"] * 3, ["archive-members"])


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_asks_for_gigabytes_is_refused(tmp_path: Path, kind: bytes) -> None:
    entry = special("a.txt", kind)
    entry.size = 8 << 30
    (tmp_path / "a.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + b"\x00" * 4096)
    assert told(read(tmp_path / "a.tar")) == ([], ["damaged"])
