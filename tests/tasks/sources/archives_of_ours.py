"""Small wheels, source distributions, archives and WARC records, with text written for these tests."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa


def sdist(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    path = folder / f"{name}-{version}.tar.gz"
    info = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        "setup.py": b"",
    }
    path.write_bytes(
        tar_gz({f"{name}-{version}/{member}": data for member, data in {**info, **files}.items()})
    )
    return path


def wheel(
    folder: Path, name: str, version: str, files: Mapping[str, bytes], tag: str = "py3-none-any"
) -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    pure = str(tag.endswith("any")).lower()
    tags = "".join(f"Tag: {'-'.join(tag.split('-')[:2])}-{part}\n" for part in tag.split("-")[2].split("."))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: {pure}\n{tags}"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def zipped(text: str) -> bytes:
    return gzip.compress(text.encode())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tar_of(path: Path, entries: list[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """A tar archive, compressed as its suffix says, with exactly these entries."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for entry, data in entries:
            info = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(COMPRESSORS[path.suffix.lstrip(".")](plain.getvalue()))
    return path


def zip_of(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    """A zip archive with exactly these entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry, data in entries:
            archive.writestr(entry, data)
    return path


def archive_of(path: Path, entries: list[tuple[str, bytes]]) -> Path:
    """A zip or tar archive, as the suffix says."""
    return zip_of(path, [*entries]) if path.suffix == ".zip" else tar_of(path, [*entries])


def zstandard(data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
    return bytes(buffer.getvalue().to_pybytes())


def warc(kind: str, target: str, block: bytes, *headers: str, content: str = "application/http") -> bytes:
    """One WARC record."""
    head = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Target-URI: {target}",
        f"Content-Type: {content}; msgtype={kind}",
        *headers,
        f"Content-Length: {len(block)}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def http(body: bytes, *headers: str, status: str = "200 OK", content: str = "text/html") -> bytes:
    """An HTTP response."""
    head = [f"HTTP/1.1 {status}", *([f"Content-Type: {content}"] if content else []), *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": gzip.compress,
    "tgz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard,
}
