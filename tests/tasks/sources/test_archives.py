from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives_of_ours import sdist, tar_gz, wheel, zipped

from tasks.errors import SourceError
from tasks.sources import archives

FILES = {"pkg/b.txt": b"second", "pkg/a.txt": b"first", "pkg/deep/c.txt": b"third", "pkg/d.bin": b"\x00"}


@pytest.mark.parametrize("build", [sdist, wheel])
def test_matching_members_come_sorted_by_name(tmp_path: Path, build: object) -> None:
    path = build(tmp_path, "pkg", "1.0", FILES)  # type: ignore[operator]
    found = archives.members(path, ("pkg/*.txt",))
    assert found == [("pkg/a.txt", b"first"), ("pkg/b.txt", b"second"), ("pkg/deep/c.txt", b"third")]


@pytest.mark.parametrize("build", [sdist, wheel])
def test_a_limit_takes_the_same_members_from_either_kind_of_archive(tmp_path: Path, build: object) -> None:
    many = {f"pkg/{number}.txt": b"x" for number in range(50)}
    path = build(tmp_path, "pkg", "1.0", many)  # type: ignore[operator]
    names = [name for name, _ in archives.members(path, ("*.txt",), limit=5)]
    assert len(names) == 5
    assert names == sorted(names)
    assert names != sorted(many)[:5], "spread over all members, not the first ones"
    assert names == [name for name, _ in archives.members(path, ("*.txt",), limit=5)]


def test_nothing_that_matches_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"pkg-1\.0\.tar\.gz: has no file like \*\.html"):
        archives.members(sdist(tmp_path, "pkg", "1.0", FILES), ("*.html",))


def test_links_devices_and_folders_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    path = tmp_path / "pkg-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, kind in (("sym", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("dev", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(f"pkg-1.0/{name}.txt")
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        member = tarfile.TarInfo("pkg-1.0/../../real.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"fine"))
    assert archives.members(path, ("*.txt",)) == [("../../real.txt", b"fine")]
    assert not list(tmp_path.rglob("real.txt")), "nothing is extracted"


def test_a_symbolic_link_in_a_zip_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("real.txt", "fine")
    assert archives.members(path, ("*.txt",)) == [("real.txt", b"fine")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")
    with pytest.raises(SourceError, match=r"holds 'a\.txt' twice"):
        archives.members(path, ("*.txt",))


@pytest.mark.parametrize("build", [sdist, wheel])
def test_a_bomb_ends_in_an_error(tmp_path: Path, build: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 10_000)
    path = build(tmp_path, "pkg", "1.0", {"pkg/a.txt": b"0" * 1_000_000})  # type: ignore[operator]
    with pytest.raises(SourceError, match="unpacks to more than may be read"):
        archives.members(path, ("*.txt",))


def test_the_whole_archive_has_a_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 100_000)
    files = {f"pkg/{number}.bin": b"0" * 50_000 for number in range(10)}
    with pytest.raises(SourceError, match="unpacks to more"):
        archives.members(sdist(tmp_path, "pkg", "1.0", files), ("*/9.bin",))


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    files = {f"pkg/{number}.txt": b"x" for number in range(10)}
    for build in (sdist, wheel):
        with pytest.raises(SourceError, match="more than 3 members"):
            archives.members(build(tmp_path, "pkg", "1.0", files), ("*.txt",))


@pytest.mark.parametrize("build", [sdist, wheel])
def test_a_truncated_archive_is_named(tmp_path: Path, build: object) -> None:
    path = build(tmp_path, "pkg", "1.0", {"pkg/a.txt": bytes(range(256)) * 100})  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SourceError, match=r"pkg-1\.0.*is not a readable archive"):
        archives.members(path, ("*.txt",))


def test_a_tar_inside_a_tar_is_read_in_memory(tmp_path: Path) -> None:
    inner = tar_gz({"set/a.txt": b"one", "set/b.pdf": b"two"})
    ((name, data),) = archives.members(
        sdist(tmp_path, "pkg", "1.0", {"res/set.tar.gz": inner}), ("*/set.tar.gz",)
    )
    assert archives.inner_tar(name, data, ("*.txt",)) == [("set/a.txt", b"one")]


def test_compressed_members_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert archives.gunzip("a.gz", zipped("text")) == b"text"
    with pytest.raises(SourceError, match=r"a\.gz: cannot be decompressed"):
        archives.gunzip("a.gz", zipped("text")[:-6])
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1_000)
    with pytest.raises(SourceError, match="decompresses to more than 1000 bytes"):
        archives.gunzip("a.gz", zipped("0" * 100_000))
