"""A question about the state of things downloads nothing and changes nothing; a real server counts what is asked."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from web_server import Handler, Site, serving, whole

from tasks.environment import workspace
from tasks.errors import UnknownError
from tasks.sources import downloads
from tasks.sources.config import FeedSource, FilesSource, HttpSource, IngestionConfig
from tasks.sources.ingest import ingest
from tasks.sources.observation import observe

BODY = b'{"text": "one of many"}\n' * 100_000
COMMON = {"domain": "web", "licence": "CC0-1.0", "allow_private": True}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(downloads, "_PAUSES", (0.0, 0.01))
    with serving() as found:
        found.answers["/a.jsonl"] = whole(BODY)
        yield found


def http(site: Site, **changes: Any) -> IngestionConfig:
    return IngestionConfig(
        sources=(HttpSource.model_validate({**COMMON, "url": site.url("/a.jsonl"), **changes}),)
    )


def feed(site: Site, *paths: str, **changes: Any) -> IngestionConfig:
    items = "".join(f"<item><link>{path}</link></item>" for path in paths)
    site.answers["/feed"] = whole(f"<rss><channel>{items}</channel></rss>".encode())
    values = {**COMMON, "url": site.url("/feed"), "delay": 0.0, **changes}
    return IngestionConfig(sources=(FeedSource.model_validate(values),))


def files() -> dict[Path, tuple[int, int]]:
    found = workspace().rglob("*") if workspace().exists() else []
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def unknown(config: IngestionConfig) -> str:
    """What cannot be known without fetching; asking for it must leave no trace."""
    before = files()
    with pytest.raises(UnknownError) as caught:
        observe(config, fetch=False)
    assert files() == before
    return str(caught.value)


def known(config: IngestionConfig) -> dict[str, str]:
    before = files()
    found = observe(config, fetch=False)
    assert files() == before
    return found


def test_a_file_that_was_never_fetched_is_not_fetched_to_tell(site: Site) -> None:
    url = site.url("/a.jsonl")
    assert unknown(http(site)) == f"{url} would be downloaded, and cannot be told without"
    assert site.asked == [] and not workspace().exists()


def test_what_the_last_run_fetched_is_what_counts(site: Site) -> None:
    assert known(http(site, sha256=hashlib.sha256(BODY).hexdigest())) and site.asked == []
    fetched = observe(http(site))
    assert len(site.asked) == 1
    assert known(http(site)) == fetched and len(site.asked) == 1
    damaged = next(path for path in files() if path.name == "a.jsonl")
    damaged.write_bytes(BODY[1:])
    assert "would be downloaded" in unknown(http(site)) and len(site.asked) == 1


def test_another_version_is_asked_for_and_not_taken(site: Site) -> None:
    config = http(site, refresh=True)
    fetched, sent = observe(config), site.sent
    assert known(config) == fetched and len(site.asked) == 2
    site.answers["/a.jsonl"] = whole(BODY.upper(), '"2"')
    assert "has another version, which would be downloaded" in unknown(config)
    assert len(site.asked) == 3 and site.sent == sent


def ignores_conditions(handler: Handler) -> None:
    handler.reply(200, BODY, ETag='"1"')


def refuses_heads(handler: Handler) -> None:
    handler.reply(405) if handler.command == "HEAD" else handler.reply(200, BODY, ETag='"1"')


def unversioned(handler: Handler) -> None:
    handler.reply(200, BODY)


def sleeps(handler: Handler) -> None:
    if handler.command == "HEAD":
        time.sleep(1)
    handler.reply(200, BODY, ETag='"1"')


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ignores_conditions, ""),
        (refuses_heads, "answers 405"),
        (unversioned, "another version"),
        (sleeps, "Timeout"),
    ],
)
def test_servers_answer_as_they_please(
    site: Site, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Handler], None], told: str
) -> None:
    monkeypatch.setattr(downloads, "_SHORT", 0.3)
    site.answers["/a.jsonl"] = answer
    config = http(site, refresh=True)
    fetched, sent = observe(config), site.sent
    if told:
        assert told in unknown(config)
    else:
        assert known(config) == fetched
    assert site.sent == sent


def test_every_source_says_what_is_missing(site: Site) -> None:
    both = IngestionConfig(sources=(*http(site).sources, *feed(site, "/0.html").sources))
    assert unknown(both).count("would be downloaded") == 2 and site.asked == []


def test_a_feed_is_walked_through_what_the_first_crawl_left(site: Site, tmp_path: Path) -> None:
    site.answers["/0.html"] = whole(b"<p>page</p>")
    config = feed(site, "/0.html", "/gone.html")
    assert "/feed would be downloaded" in unknown(config) and site.asked == []
    fetched, asked = observe(config), len(site.asked)
    assert "the server answers 404" in " ".join(fetched.values())
    assert known(config) == fetched and len(site.asked) == asked
    site.answers["/gone.html"] = whole(b"<p>back again</p>")
    (tmp_path / "out").mkdir()
    loose = config.model_copy(update={"max_bad_ratio": 0.5})
    assert ingest({}, loose, tmp_path / "out").documents == 1, "what was observed is what is read"
    assert observe(config) == fetched and len(site.asked) == asked, "the first crawl stays"
    assert "crawled anew" in unknown(feed(site, "/0.html", refresh=True))


def test_a_page_that_a_busy_server_did_not_give_is_asked_for_again(site: Site) -> None:
    site.answers["/0.html"] = lambda handler: handler.reply(503)
    config = feed(site, "/0.html")
    assert "cannot be downloaded" in " ".join(observe(config).values())
    assert "/0.html would be downloaded" in unknown(config)
    site.answers["/0.html"] = whole(b"<p>page</p>")
    assert "cannot" not in " ".join(observe(config).values())
    assert known(config) == observe(config)


def test_remote_objects_are_told_by_their_state(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec  # type: ignore[import-untyped]

    store = fsspec.filesystem("memory")
    store.pipe("/test-inspection/a.txt", b"one")
    config = IngestionConfig(
        sources=(FilesSource(path="memory://test-inspection/*.txt", domain="web", licence="MIT"),)
    )
    try:
        assert "a.txt would be read over the network" in unknown(config)
        fetched = observe(config)
        with monkeypatch.context() as patch:
            patch.setattr(type(store), "open", lambda *_, **__: pytest.fail("it was read"))
            assert known(config) == fetched
        store.pipe("/test-inspection/a.txt", b"two")
        assert "a.txt would be read" in unknown(config)
        assert observe(config) != fetched
    finally:
        store.rm("/test-inspection", recursive=True)
