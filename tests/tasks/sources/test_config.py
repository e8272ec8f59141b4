from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.sources.catalogue import DEMO_LABELLED, DEMO_SOURCES, SMOKE_LABELLED, SMOKE_SOURCES
from tasks.sources.config import FilesSource, IngestionConfig, Source
from tasks.sources.config_base import split_glob
from tasks.sources.labelled_config import LabelledSources

FILES = {"type": "files", "domain": "books", "licence": "CC0-1.0"}


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/home/someone/corpus/**/*.txt", "corpus/txt"),
        ("corpus/a.txt", "corpus/a.txt"),
        ("dump/part-*.jsonl", "dump/part-.jsonl"),
        ("*.txt", "txt"),
        ("**/*", "files"),
    ],
)
def test_the_title_of_a_source_names_its_folder_and_not_the_machine(path: str, title: str) -> None:
    assert FilesSource(path=path, domain="books", licence="CC0-1.0").title == title


def test_a_glob_is_split_at_its_first_wildcard() -> None:
    assert [str(part) for part in split_glob("/a/b/**/c*.txt")] == ["/a/b", "**/c*.txt"]
    assert [str(part) for part in split_glob("a/b.txt")] == ["a", "b.txt"]


def test_the_type_tells_which_source_it_is_and_an_unknown_key_is_refused() -> None:
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    assert isinstance(adapter.validate_python({**FILES, "path": "a/*.txt"}), FilesSource)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        adapter.validate_python({**FILES, "path": "a/*.txt", "licnce": "MIT"})
    with pytest.raises(ValidationError, match="union_tag_invalid"):
        adapter.validate_python({**FILES, "path": "a/*.txt", "type": "ftp"})


def test_two_sources_of_one_name_are_refused() -> None:
    same = {**FILES, "path": "corpus/*.txt"}
    with pytest.raises(ValidationError, match="two sources are called 'corpus/txt'"):
        IngestionConfig.model_validate({"sources": [same, same]})
    with pytest.raises(ValidationError, match="two sources are called 'samples'"):
        LabelledSources.model_validate({"sentiment": [{"type": "samples"}, {"type": "samples"}]})
    assert IngestionConfig.model_validate({"sources": [same, {**same, "name": "more"}]})


def test_one_labelled_source_may_stand_without_a_list() -> None:
    one = {"type": "files", "path": "reviews.csv", "label": "stars", "licence": "CC0-1.0"}
    labelled = LabelledSources.model_validate({"sentiment": one})
    assert labelled.sentiment[0].title == "reviews.csv"


def test_a_package_is_pinned_by_a_whole_sha256() -> None:
    package = DEMO_SOURCES[0].model_dump()
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    with pytest.raises(ValidationError, match="sha256"):
        adapter.validate_python({**package, "sha256": package["sha256"][:16]})
    with pytest.raises(ValidationError, match="filename"):
        adapter.validate_python({**package, "filename": "../evil.tar.gz"})


def test_the_presets_survive_a_round_trip_through_json() -> None:
    for sources, labelled in ((DEMO_SOURCES, DEMO_LABELLED), (SMOKE_SOURCES, SMOKE_LABELLED)):
        config = IngestionConfig(sources=sources, labelled=labelled)
        assert IngestionConfig.model_validate_json(config.model_dump_json()) == config
