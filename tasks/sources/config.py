"""What can be ingested: the typed description of every source of documents and of labelled rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.config import StageConfig
from tasks.sources.addresses import problem
from tasks.sources.config_base import (
    NAME,
    AnyFiles,
    AnyPackage,
    Domain,
    Readable,
    Sha256,
    as_tuple,
    is_remote,
    refuse_same_titles,
)
from tasks.sources.labelled_config import LabelledSources, ProbeSources

SAMPLES_LICENCE = "CC0-1.0"
_MIB = 2**20


class DocumentColumns(StageConfig):
    """Where in a record a document stands."""

    domain: Domain = Field(..., description="books, articles, web, social, or a word of your own.")
    text: str = Field(
        default="text", min_length=1, description="Field or column that holds the text (jsonl, csv, parquet)."
    )
    id: str | None = Field(
        default=None, description="Field or column that identifies a record; kept in its uri."
    )
    uri: str | None = Field(default=None, description="Field or column that says where the record is from.")


class FilesSource(AnyFiles, DocumentColumns):
    """Documents from the user's files."""


class HttpSource(Readable, DocumentColumns):
    """Documents from files on the web, each downloaded once."""

    type: Literal["http"] = "http"
    url: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        default=..., min_length=1, max_length=10_000, description="Address of a file, or a list of them."
    )
    sha256: Annotated[tuple[Sha256, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="What the files must be, in the order of `url`; not checked when left out."
    )
    refresh: bool = Field(
        default=False,
        description="Ask the server at every run whether it has another version; otherwise what was downloaded stays.",
    )
    allow_private: bool = Field(
        default=False, description="Whether addresses in this machine or its network may be asked."
    )
    token_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$",
        description="Environment variable with a token for the server; it is sent to no other, and not logged.",
    )
    max_bytes: int = Field(
        default=64 << 30, ge=1, le=1 << 50, description="Largest file that is taken, in bytes."
    )
    stall: float = Field(
        default=30.0, ge=0.1, le=3600, description="Seconds of silence after which a try is given up."
    )

    @property
    def title(self) -> str:
        """The given name, or one made of the first address."""
        shown = re.sub(r"[^A-Za-z0-9_./-]+", "-", self.url[0].split("://")[-1].split("?")[0]).strip("./-")
        return self.name or shown[:100]

    @model_validator(mode="after")
    def _addresses_are_sound(self) -> HttpSource:
        for url in self.url:
            if wrong := problem(url):
                raise ValueError(f"url: {url.split('@')[-1]!r} {wrong}")
        if len(set(self.url)) < len(self.url):
            raise ValueError("url: an address is listed twice")
        if self.sha256 and len(self.sha256) != len(self.url):
            raise ValueError(f"sha256: {len(self.sha256)} digests for {len(self.url)} addresses")
        return self


class FeedSource(StageConfig):
    """Documents that an RSS or Atom feed or a sitemap points to, or that stand in the feed itself."""

    type: Literal["feed"] = "feed"
    url: str = Field(..., description="Address of the feed, the sitemap, or an index of sitemaps.")
    domain: Domain = Field(..., description="books, articles, web, social, or a word of your own.")
    licence: str = Field(
        default=..., min_length=1, description="Licence of the text; SPDX identifier where there is one."
    )
    name: str | None = Field(
        default=None, pattern=NAME, description="What tables and counts call this source."
    )
    content: Literal["linked", "embedded"] = Field(
        default="linked", description="The pages that entries link to, or the text that stands in the feed."
    )
    limit: int = Field(
        default=1000, ge=1, le=1_000_000, description="At most so many entries, in the feed's order."
    )
    same_host: bool = Field(
        default=True, description="Leave out pages and sitemaps of other hosts than the feed's own."
    )
    delay: float = Field(default=1.0, ge=0, le=3600, description="Seconds between two questions to one host.")
    refresh: bool = Field(
        default=False,
        description="Ask for newer versions at every run; otherwise the first crawl stays, and what it was refused.",
    )
    allow_private: bool = Field(
        default=False, description="Whether addresses in this machine or its network may be asked."
    )
    max_bytes: int = Field(default=32 << 20, ge=1, le=1 << 40, description="Largest feed or page, in bytes.")
    stall: float = Field(
        default=30.0, ge=0.1, le=3600, description="Seconds of silence after which a try is given up."
    )

    @property
    def title(self) -> str:
        """The given name, or the feed's address."""
        shown = re.sub(r"[^A-Za-z0-9_./-]+", "-", self.url.split("://")[-1].split("?")[0]).strip("./-")
        return self.name or shown[:100]

    @field_validator("url")
    @classmethod
    def _sound(cls, url: str) -> str:
        if wrong := problem(url):
            raise ValueError(wrong)
        return url


class HuggingFaceSource(DocumentColumns):
    """Documents from a dataset of the Hugging Face hub, or from a local copy of one."""

    type: Literal["huggingface"] = "huggingface"
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$",
        description="Name on the hub, such as user/dataset.",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of a local copy: of `save_to_disk`, or one with parquet, json or csv files.",
    )
    licence: str = Field(
        default=..., min_length=1, description="Licence of the text; SPDX identifier where there is one."
    )
    subset: str | None = Field(default=None, min_length=1, description="Configuration of the dataset.")
    split: str = Field(default="train", min_length=1, description="Which of its splits.")
    revision: str | None = Field(
        default=None,
        min_length=1,
        description="Branch, tag or commit; a commit needs no question to the hub.",
    )
    streaming: bool = Field(
        default=False, description="Read over the network row by row instead of downloading first."
    )
    limit: int | None = Field(default=None, ge=1, description="At most so many rows, from the first on.")

    @property
    def title(self) -> str:
        """The dataset's name or folder, and its split."""
        return f"{self.name or Path(str(self.path)).name} {self.split}"[:100]

    @model_validator(mode="after")
    def _one_place(self) -> HuggingFaceSource:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either the `name` on the hub or the `path` of a local copy")
        if self.path is not None and (self.revision or self.streaming):
            raise ValueError("`revision` and `streaming` are for datasets of the hub, not for a `path`")
        return self


class PackageSource(AnyPackage):
    """Documents from a package."""

    reader: Literal["text", "html", "wikipedia", "bible", "boolq", "tweets"] = Field(
        default=..., description="How its files become documents (tasks/sources/readers.py)."
    )
    domain: Domain = Field(..., description="books, articles, web, social, or a word of your own.")
    limit: int | None = Field(
        default=None,
        ge=1,
        description="At most so many members, chosen by a hash of their names, evenly over all of them.",
    )
    share: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="Share of the documents to take, chosen by a hash of where they are from.",
    )


class SamplesSource(StageConfig):
    """Documents that Unveil writes itself: no network, no third-party text, four domains."""

    type: Literal["samples"] = "samples"
    documents: int = Field(
        default=400, ge=8, le=20_000, description="How many documents, over all four domains."
    )
    seed: int = Field(default=7, ge=0, description="Seed of the generator.")

    @property
    def title(self) -> str:
        """Always ``samples``."""
        return "samples"


Source = Annotated[
    FilesSource | HttpSource | FeedSource | HuggingFaceSource | PackageSource | SamplesSource,
    Field(discriminator="type"),
]


class IngestionConfig(StageConfig):
    """What the ingestion stage reads, and how much of it may be bad."""

    sources: tuple[Source, ...] = Field(..., min_length=1, description="Where the documents come from.")
    labelled: LabelledSources = Field(
        default=LabelledSources(), description="Where the labelled rows come from."
    )
    probes: ProbeSources = Field(
        default=ProbeSources(), description="Where the pairs come from that bias is measured with."
    )
    max_bad_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of a source's records that may be quarantined before the stage fails.",
    )
    max_document_bytes: int = Field(
        default=16 * _MIB,
        ge=1024,
        le=1024 * _MIB,
        description="Largest record in bytes; a larger one is quarantined.",
    )

    damaged_files: Literal["stop", "quarantine"] = Field(
        default="stop",
        description="A truncated or corrupt file stops the stage, or is quarantined from where the damage is noticed; "
        "checksums come at the end of a block, so that a little text before it may be wrong.",
    )

    @model_validator(mode="after")
    def _titles_differ(self) -> IngestionConfig:
        refuse_same_titles(self.sources)
        return self


def local_paths(config: IngestionConfig) -> Iterator[str]:
    """The path, often a glob, of every source that reads files of this machine."""
    grouped = (
        config.sources,
        *(sources for _, sources in config.labelled),
        *(found for _, found in config.probes),
    )
    for source in chain.from_iterable(grouped):
        path = getattr(source, "path", None)
        if isinstance(source, AnyFiles | HuggingFaceSource) and path and not is_remote(path):
            yield path if isinstance(source, AnyFiles) else f"{path}/**/*"
