"""Small wheels and source distributions, laid out as the real ones are, with text written for these tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


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
