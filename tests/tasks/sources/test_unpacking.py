"""Archives of a user: every member a file of its own, and whatever cannot be read told by name."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives_of_ours import COMPRESSORS, archive_of, tar_of, zip_of
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_of_reading import memory_of_reading

from tasks.sources import files, parquet_rows, unpacking
from tasks.sources.config import FilesSource
from tasks.sources.labelled_config import SentimentFiles
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcome

LIMIT = 1 << 20
KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.tar.zst"]
EVERY = pytest.mark.parametrize("name", KINDS)


def read(path: Path, **options: object) -> list[Outcome]:
    source = FilesSource.model_validate({"path": str(path), "domain": "web", "licence": "MIT", **options})
    return list(files.read(source, files.interpreter(source, LIMIT), LIMIT))


def uris(outcomes: list[Outcome]) -> list[str]:
    return [kept.uri.split("!", 1)[1] for kept in outcomes if isinstance(kept, Kept)]


def rules(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(bad.where.partition("!")[2], bad.rule) for bad in outcomes if isinstance(bad, Bad)]


def reasons(outcomes: list[Outcome]) -> list[str]:
    return [left.reason for left in outcomes if isinstance(left, LeftOut)]


@EVERY
def test_every_member_is_read_by_its_own_suffix(tmp_path: Path, name: str) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["row one", "row two"]}), table)
    entries = [
        ("./folder/a.txt", b"plain text"),
        ("folder/b.jsonl", b'{"text": "line"}\nno json\n'),
        ("c.csv.gz", COMPRESSORS["gz"](b'text\n"a\nb"\n')),
        ("d.parquet", table.getvalue()),
        ("e.html", b"<p>page</p>"),
        ("picture.png", b"\x89PNG"),
        ("empty.txt", b""),
        ("more.zip", b"PK\x03\x04"),
        ("more.tar.xz", b"..."),
    ]
    before = archive_of(tmp_path / name, entries).read_bytes()
    outcomes = read(tmp_path / name)
    assert uris(outcomes) == [
        *("folder/a.txt", "folder/b.jsonl#L1", "c.csv.gz#L2", "d.parquet#1", "d.parquet#2", "e.html"),
    ]
    assert outcomes[0].uri == f"file:{tmp_path.name}/{name}!folder/a.txt"  # type: ignore[union-attr]
    assert rules(outcomes) == [("folder/b.jsonl:2", "json"), ("empty.txt", "empty")]
    assert reasons(outcomes) == ["member of another format", "nested archive", "nested archive"]
    assert len(outcomes) == 6 + 2 + 3
    assert (tmp_path / name).read_bytes() == before


@EVERY
def test_a_pattern_and_a_format_choose_the_members(tmp_path: Path, name: str) -> None:
    entries = [("x/a.log", b"one"), ("x/b.txt", b"two"), ("y/c.log", b"three")]
    archive_of(tmp_path / name, entries)
    chosen = read(tmp_path / name, members="x/*", format="txt")
    assert (uris(chosen), reasons(chosen)) == (["x/a.log", "x/b.txt"], ["member of another name"])
    by_format = read(tmp_path / name, format="txt")
    assert (uris(by_format), reasons(by_format)) == (["x/b.txt"], ["member of another format"] * 2)


def test_labelled_rows_come_out_of_archives_and_texts_stay_in(tmp_path: Path) -> None:
    archive_of(tmp_path / "a.zip", [("README.md", b"words"), ("rows.csv", b"text,label\ngood,positive\n")])
    source = SentimentFiles(path=str(tmp_path / "a.zip"), licence="MIT")
    found = list(files.read(source, lambda record, _: Kept(record.place.uri, record.fields), LIMIT))
    assert reasons(found) == ["member of another format"]
    assert uris(found) == ["rows.csv#L2"]


@EVERY
def test_an_archive_without_files_is_told(tmp_path: Path, name: str) -> None:
    archive_of(tmp_path / name, [])
    assert rules(read(tmp_path / name)) == [("", "empty")]


@EVERY
@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_a_damaged_archive_keeps_what_comes_before(tmp_path: Path, name: str, damage: str) -> None:
    noise = b"".join(b"%d " % (n**7) for n in range(40_000))
    path = archive_of(tmp_path / name, [("a.txt", b"first"), ("b.txt", noise), ("c.txt", b"last")])
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "other": b"<html>404</html>" * 99}[damage])
    outcomes = read(path)
    assert len(rules(outcomes)) == 1 and rules(outcomes)[0][1] in ("damaged", "empty")
    assert uris(outcomes) in ([], ["a.txt"])
    if damage == "cut" and name == "a.tar":
        assert uris(outcomes) == ["a.txt"]
        assert rules(outcomes) == [("b.txt", "damaged")]


def test_a_tar_never_ends_in_silence(tmp_path: Path) -> None:
    good = [(f"{n}.txt", b"text %d" % n) for n in range(3)]
    data = tar_of(tmp_path / "a.tar", [*good]).read_bytes()

    def with_bytes(changed: bytes) -> tuple[list[str], list[tuple[str, str]]]:
        (tmp_path / "a.tar").write_bytes(changed)
        return uris(read(tmp_path / "a.tar")), rules(read(tmp_path / "a.tar"))

    damaged = [("", "damaged")]
    flipped = bytearray(data)
    flipped[1024 + 5] ^= 0x20  # in the header of the second member
    assert with_bytes(bytes(flipped)) == (["0.txt"], damaged)
    assert with_bytes(data[: 2 * 1024]) == (["0.txt", "1.txt"], damaged), "cut between two members"
    assert with_bytes(data + data) == (["0.txt", "1.txt", "2.txt"], damaged), "a second archive follows"
    assert with_bytes(data) == (["0.txt", "1.txt", "2.txt"], [])


def test_the_checksum_after_a_tar_is_read(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar.gz", [("a.txt", b"text")])
    path.write_bytes(path.read_bytes()[:-8] + b"\x00" * 8)
    outcomes = read(path)
    assert (uris(outcomes), rules(outcomes)) == (["a.txt"], [("", "damaged")])


def test_a_damaged_member_of_a_zip_does_not_hide_the_others(tmp_path: Path) -> None:
    text = b"".join(b"%d " % (n**5) for n in range(999))
    path = zip_of(tmp_path / "a.zip", [("a.txt", text), ("b.txt", text), ("c.txt", text)])
    with zipfile.ZipFile(path) as archive:
        middle = archive.getinfo("b.txt")
    data = bytearray(path.read_bytes())
    data[middle.header_offset + 200] ^= 0x40
    path.write_bytes(data)
    outcomes = read(path)
    assert (uris(outcomes), rules(outcomes)) == (["a.txt", "c.txt"], [("b.txt", "damaged")])


def test_an_encrypted_member_and_a_rare_method_are_told(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", [("a.txt", b"secret"), ("b.txt", b"open")])
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    assert rules(read(path)) == [("a.txt", "encrypted")] and uris(read(path)) == ["b.txt"]
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.txt", "text")
        assert rules(read(path)) == [("a.txt", "format")]


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    zip_of(tmp_path / "a.zip", [("a.txt", b"text")])
    (tmp_path / "a.zip.gz").write_bytes(COMPRESSORS["gz"]((tmp_path / "a.zip").read_bytes()))
    assert rules(read(tmp_path / "a.zip.gz")) == [("", "format")]


@EVERY
def test_members_and_archives_have_caps(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"".join(b'{"text": "%d"}\n' % n for n in range(30_000))
    archive_of(tmp_path / name, [("a.jsonl", lines), ("b.jsonl", lines), ("c.txt", b"short")])
    monkeypatch.setattr(unpacking, "MAX_MEMBER_BYTES", 200_000)
    outcomes = read(tmp_path / name)
    assert rules(outcomes) == [("a.jsonl", "decompression-bomb"), ("b.jsonl", "decompression-bomb")]
    assert uris(outcomes)[-1] == "c.txt"
    monkeypatch.setattr(unpacking, "MAX_TOTAL_BYTES", 300_000)
    outcomes = read(tmp_path / name)
    assert [rule for _, rule in rules(outcomes)] == ["decompression-bomb"] * 2
    assert "c.txt" not in uris(outcomes), "nothing more is read from it"


def test_a_parquet_file_too_large_to_hold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "_MOST_HELD", 100)
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["row"]}), table)
    tar_of(tmp_path / "a.tar", [("a.parquet", table.getvalue()), ("b.txt", b"text")])
    outcomes = read(tmp_path / "a.tar")
    assert (rules(outcomes), uris(outcomes)) == ([("a.parquet", "too-large")], ["b.txt"])


@settings(max_examples=80, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=3),
    cut=st.integers(0, 10**6),
    name=st.sampled_from(KINDS),
)
def test_any_damage_ends_in_records_and_told_losses(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int, name: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    texts = [f"text {n} " * 40 for n in range(4)]
    archive_of(path, [(f"{n}.txt", text.encode()) for n, text in enumerate(texts)])
    data = bytearray(path.read_bytes())
    for place, change in flips:
        data[place % len(data)] ^= change
    path.write_bytes(data[: len(data) - cut % 40])
    outcomes = read(path)
    kept = [kept.values["text"] for kept in outcomes if isinstance(kept, Kept)]
    told = any(isinstance(outcome, Bad | LeftOut) for outcome in outcomes)
    unchecked = name in ("a.tar", "a.tar.zst")  # neither has a checksum of the content
    assert kept == texts or told or (unchecked and len(kept) == len(texts))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.zst", "a.jsonl.gz.gz", "a.jsonl.gz"])
def test_bombs_in_archives_never_take_a_gigabyte(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_bomb(path, 600 << 20)
    peak, growth, rules = memory_of_reading(path)
    assert peak < 1_000 and growth < 200
    assert rules == {"a.jsonl.gz.gz": ["format"], "a.jsonl.gz": ["damaged"]}.get(name, ["decompression-bomb"])


def test_a_parquet_file_of_repeated_values_never_takes_a_gigabyte(tmp_path: Path) -> None:
    once = pa.array(["a" * (15 << 20)]).dictionary_encode()
    pq.write_table(pa.table({"text": once.take(pa.array([0] * 2000))}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a" * (500 << 20)]}), tmp_path / "b.parquet", compression="zstd")
    for name in ("a.parquet", "b.parquet"):
        peak, _, rules = memory_of_reading(tmp_path / name)
        assert peak < 1_000
        assert set(rules[:-1]) <= {"kept"} and rules[-1] == "decompression-bomb"


def write_bomb(path: Path, size: int) -> None:
    """One member (or file) that is one line of so many bytes; the two gz files are compressed twice."""
    if path.suffix == ".zip":
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a.jsonl", "w") as member,
        ):
            for _ in range(size >> 20):
                member.write(b"a" * (1 << 20))
        return
    if ".tar" in path.name:
        entry = tarfile.TarInfo("a.jsonl")
        entry.size = size
        pack = COMPRESSORS[path.suffix[1:]]
        packed = pack(b"a" * (60 << 20))  # repeated, so that this process stays small
        path.write_bytes(pack(entry.tobuf()) + packed * (size // (60 << 20)) + pack(b"\x00" * 1024))
        return
    packed = COMPRESSORS["gz"](b"a" * (60 << 20))
    path.write_bytes(COMPRESSORS["gz"](packed * (size // (60 << 20))))


def test_the_ratio_is_that_of_compression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many members that share what is packed: each is small, their sum is not."""
    zip_of(tmp_path / "a.zip", [(f"{n}.txt", b"0" * 40_000) for n in range(9)])
    assert len(uris(read(tmp_path / "a.zip"))) == 9
    monkeypatch.setattr(unpacking, "UNSUSPECTED_BYTES", 1 << 16)
    monkeypatch.setattr(unpacking, "MAX_RATIO", 100)
    outcomes = read(tmp_path / "a.zip")
    assert uris(outcomes) == ["0.txt", "1.txt", "2.txt"]
    assert rules(outcomes) == [("3.txt", "decompression-bomb")]
