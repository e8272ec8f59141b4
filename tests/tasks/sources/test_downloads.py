"""Downloads end whole and checked under their name, or not at all; each test has a real server that misbehaves."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from web_server import Handler, Site, cut_off, in_turn, serving, silent, whole

from tasks import tables
from tasks.errors import SourceError
from tasks.sources import downloads, web
from tasks.sources.config import HttpSource, IngestionConfig
from tasks.sources.downloads import Wanted, fetch, file_name
from tasks.sources.ingest import ingest
from tasks.sources.observation import observe

BODY = b"".join(b'{"text": "line %06d of a file"}\n' % number for number in range(20_000))
DIGEST = hashlib.sha256(BODY).hexdigest()
PATH = "/data/lines.jsonl"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(downloads, "_PAUSES", (0.0, 0.01, 0.01, 0.01))
    with serving() as found:
        yield found


def wanted(site: Site, path: str = PATH, **changes: Any) -> Wanted:
    return replace(Wanted(site.url(path), allow_private=True, stall=5.0, page=False), **changes)


def final(site: Site) -> list[str]:
    """Names under which something whole lies, `.part` files and books apart."""
    names = [path.name for path in downloads.workspace().rglob("*") if path.is_file()]
    return [name for name in names if not name.endswith((".part", ".lock", "part.json", "state.json"))]


def test_a_file_is_downloaded_once(site: Site) -> None:
    site.answers[PATH] = whole(BODY)
    path = fetch(wanted(site, sha256=DIGEST), ask=True)
    assert path.name == "lines.jsonl" and path.read_bytes() == BODY
    assert fetch(wanted(site), ask=True) == path and len(site.asked) == 1
    assert not list(path.parent.glob("*part*"))


@pytest.mark.parametrize("after", [1, 65_536, len(BODY) - 1])
def test_what_was_cut_off_goes_on_where_it_stopped(site: Site, after: int) -> None:
    site.answers[PATH] = in_turn(cut_off(BODY, after), whole(BODY))
    assert fetch(wanted(site), ask=True).read_bytes() == BODY
    assert site.ranges(PATH)[0] == "" and site.ranges(PATH)[1].startswith("bytes=")


def test_an_answer_that_stops_is_given_up_and_resumed(site: Site) -> None:
    site.answers[PATH] = in_turn(silent(BODY, 100_000, 2.0), whole(BODY))
    assert fetch(wanted(site, stall=0.3), ask=True).read_bytes() == BODY


def test_a_file_that_changed_meanwhile_begins_anew(site: Site) -> None:
    other = BODY.upper()
    site.answers[PATH] = in_turn(cut_off(BODY, 90_000, '"1"'), whole(other, '"2"'))
    assert fetch(wanted(site), ask=True).read_bytes() == other


def test_a_server_without_ranges_or_versions_begins_anew(site: Site) -> None:
    def no_ranges(handler: Handler) -> None:
        handler.reply(200, BODY)

    site.answers[PATH] = in_turn(cut_off(BODY, 90_000), no_ranges)
    assert fetch(wanted(site), ask=True).read_bytes() == BODY
    site.answers["/weak"] = in_turn(cut_off(BODY, 90_000, 'W/"1"'), no_ranges)
    assert fetch(wanted(site, "/weak"), ask=True).read_bytes() == BODY
    assert site.ranges("/weak") == ["", ""]


def test_a_part_that_was_not_asked_for_is_not_taken(site: Site) -> None:
    def elsewhere(handler: Handler) -> None:
        handler.reply(206, BODY[5:], ETag='"1"', Content_Range=f"bytes 5-{len(BODY) - 1}/{len(BODY)}")

    site.answers[PATH] = in_turn(cut_off(BODY, 90_000), elsewhere)
    with pytest.raises(SourceError, match="another part"):
        fetch(wanted(site), ask=True)
    assert final(site) == []


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_server_is_asked_again(site: Site, status: int) -> None:
    busy = in_turn(*[lambda handler: handler.reply(status, Retry_After="0")] * 3, whole(BODY))
    site.answers[PATH] = busy
    assert fetch(wanted(site), ask=True).read_bytes() == BODY
    assert len(site.asked) == 4


def test_a_wrong_length_is_never_a_file(site: Site) -> None:
    site.answers[PATH] = cut_off(BODY, 1000, etag="")
    with pytest.raises(SourceError, match=r"cannot be downloaded: .*; run again to go on"):
        fetch(wanted(site), ask=True)
    assert final(site) == [] and len(site.asked) == 5


def test_a_wrong_digest_is_refused_and_forgotten(site: Site) -> None:
    site.answers[PATH] = whole(BODY + b"more")
    with pytest.raises(SourceError, match=r"has the sha256 .* instead of"):
        fetch(wanted(site, sha256=DIGEST), ask=True)
    assert final(site) == [] and not list(downloads.workspace().rglob("*.part"))


def test_a_page_in_place_of_the_file_is_told(site: Site) -> None:
    page = whole(b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")
    site.answers |= {PATH: page, "/page.html": page}
    with pytest.raises(SourceError, match="a web page instead of the file"):
        fetch(wanted(site), ask=True)
    assert final(site) == []
    assert fetch(wanted(site, "/page.html", page=True), ask=True).name == "page.html"


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(site: Site, status: int) -> None:
    site.answers[PATH] = lambda handler: handler.reply(status, b"no")
    with pytest.raises(SourceError, match=f"the server answers {status}"):
        fetch(wanted(site), ask=True)
    assert len(site.asked) == 1


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_beyond_the_limit_is_not_taken(site: Site, announced: bool) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY)

    site.answers[PATH] = whole(BODY) if announced else endless
    with pytest.raises(SourceError, match="more than 100000 bytes"):
        fetch(wanted(site, max_bytes=100_000), ask=True)
    assert final(site) == []


@pytest.mark.parametrize(
    ("onwards", "wrong"),
    [
        ("file:///etc/passwd", "no http or https"),
        ("http://169.254.169.254/latest/meta-data", "no public address"),
        ("http://10.0.0.1/", "no public address"),
        ("//user:secret@example.org/", "user name or password"),
    ],
)
def test_redirects_lead_nowhere_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, onwards: str, wrong: str
) -> None:
    site.answers[PATH] = lambda handler: handler.reply(302, Location=onwards)
    real = web.resolved
    # The first hop is this machine's own server; from there on the rule for everybody holds.
    monkeypatch.setattr(web, "resolved", lambda url, _: real(url, url == site.url(PATH)))
    with pytest.raises(SourceError, match=wrong) as caught:
        fetch(wanted(site), ask=True)
    assert "secret" not in str(caught.value) and final(site) == []


def test_redirects_are_followed_but_not_for_ever(site: Site) -> None:
    site.answers |= {
        "/a.jsonl": lambda handler: handler.reply(301, Location=PATH),
        "/b.jsonl": lambda handler: handler.reply(302, Location="/b.jsonl"),
        PATH: whole(BODY),
    }
    assert fetch(wanted(site, "/a.jsonl"), ask=True).read_bytes() == BODY
    with pytest.raises(SourceError, match="redirects more than 5 times"):
        fetch(wanted(site, "/b.jsonl"), ask=True)


def test_a_private_server_needs_leave(site: Site) -> None:
    site.answers[PATH] = whole(BODY)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1, which is no public address; set `allow_private"):
        fetch(wanted(site, allow_private=False), ask=True)
    assert site.asked == []


def test_a_name_that_moves_after_it_was_judged_moves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to the address that was judged; the name goes into the header alone."""
    site.answers[PATH] = whole(BODY)
    real = socket.getaddrinfo
    asked: list[str] = []

    def ask(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        asked.append(str(host))
        return real("127.0.0.1" if host == "corpus.example" else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    url = f"http://corpus.example:{site.port}{PATH}"
    assert fetch(wanted(site, url=url), ask=True).read_bytes() == BODY
    assert asked.count("corpus.example") == 1
    assert site.asked[0][1]["Host"] == f"corpus.example:{site.port}"


def test_the_token_goes_to_the_first_server_and_into_no_message(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CORPUS_TOKEN", "canary-7f3a")
    with serving() as other:
        other.answers[PATH] = lambda handler: handler.reply(404)
        site.answers[PATH] = lambda handler: handler.reply(302, Location=other.url(PATH))
        with pytest.raises(SourceError) as caught:
            fetch(wanted(site, token_env="CORPUS_TOKEN"), ask=True)
        assert site.asked[0][1]["Authorization"] == "Bearer canary-7f3a"
        assert "Authorization" not in other.asked[0][1]
    assert "canary" not in str(caught.value) + caplog.text
    with pytest.raises(SourceError, match="needs the environment variable NOWHERE_SET"):
        fetch(wanted(site, token_env="NOWHERE_SET"), ask=True)


def test_a_damaged_copy_is_fetched_again(site: Site) -> None:
    site.answers[PATH] = whole(BODY)
    path = fetch(wanted(site), ask=True)
    path.write_bytes(BODY[:-1] + b"?")
    assert fetch(wanted(site), ask=False).read_bytes() == BODY


def test_encoded_answers_are_decoded_and_never_resumed(site: Site) -> None:
    packed = gzip.compress(BODY)
    site.answers[PATH] = in_turn(
        lambda handler: handler.reply(200, packed[:500], len(packed), Content_Encoding="gzip", ETag='"1"'),
        lambda handler: handler.reply(200, packed, Content_Encoding="gzip", ETag='"1"'),
    )
    assert fetch(wanted(site), ask=True).read_bytes() == BODY
    assert site.ranges(PATH) == ["", ""]


def test_kill_in_the_middle_then_the_same_bytes(site: Site, tmp_path: Path) -> None:
    site.answers[PATH] = in_turn(silent(BODY, 300_000, 30.0), whole(BODY))
    code = (
        "import sys; from tasks.sources.downloads import *\n"
        "fetch(Wanted(sys.argv[1], allow_private=True, page=False), ask=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, site.url(PATH)], env=os.environ.copy())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(
        part.stat().st_size > 100_000 for part in (tmp_path / "home").rglob("*.part")
    ):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert final(site) == []
    path = fetch(wanted(site, sha256=DIGEST), ask=True)
    assert path.read_bytes() == BODY and site.ranges(PATH)[1].startswith("bytes=")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://a/b/c.jsonl.gz?x=1.txt", "c.jsonl.gz"),
        ("http://a/..%2f..%2fetc%2fpasswd", "passwd"),
        ("http://a/", "index.html"),
        ("http://a/.hidden.txt", "hidden.txt"),
        (f"http://a/{'x' * 300}.csv", "x" * 96 + ".csv"),
    ],
)
def test_names_are_safe_and_keep_their_suffix(url: str, name: str) -> None:
    assert file_name(url) == name


def source(site: Site, *paths: str, **changes: Any) -> IngestionConfig:
    found = HttpSource(
        url=tuple(map(site.url, paths)), domain="web", licence="CC0-1.0", allow_private=True, **changes
    )
    return IngestionConfig(sources=(found,))


def test_files_of_the_web_are_read_like_any_others(site: Site, tmp_path: Path) -> None:
    lines = b'{"text": "one of three"}\n{"text": "two of three"}\n'
    site.answers |= {"/a.jsonl.gz": whole(gzip.compress(lines)), "/b.txt": whole(b"three of three")}
    config = source(site, "/a.jsonl.gz", "/b.txt")
    (tmp_path / "out").mkdir()
    summary = ingest({}, config, tmp_path / "out")
    rows = list(tables.iterate(tmp_path / "out" / "documents.parquet"))
    assert summary.documents == 3
    assert [row["text"] for row in rows] == ["one of three", "two of three", "three of three"]
    assert [row["uri"] for row in rows] == [
        f"{site.url('/a.jsonl.gz')}#L1",
        f"{site.url('/a.jsonl.gz')}#L2",
        site.url("/b.txt"),
    ]


@pytest.mark.parametrize("refresh", [True, False])
def test_another_version_is_seen_if_it_is_asked_for(site: Site, refresh: bool) -> None:
    site.answers["/a.txt"] = whole(b"one", '"1"')
    config = source(site, "/a.txt", refresh=refresh)
    first = observe(config)
    assert observe(config) == first
    site.answers["/a.txt"] = whole(b"two", '"2"')
    assert (observe(config) != first) is refresh
    assert len(site.asked) == (3 if refresh else 1)


def test_what_was_observed_is_what_is_read(site: Site, tmp_path: Path) -> None:
    site.answers["/a.txt"] = whole(b"one", '"1"')
    config = source(site, "/a.txt", refresh=True)
    observe(config)
    site.answers["/a.txt"] = whole(b"two", '"2"')
    (tmp_path / "out").mkdir()
    ingest({}, config, tmp_path / "out")
    (row,) = tables.iterate(tmp_path / "out" / "documents.parquet")
    assert row["text"] == "one"


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"url": "ftp://example.org/a.txt"}, "no http or https"),
        ({"url": "https://jane:canary@example.org/a.txt"}, "user name or password"),
        ({"url": ["https://example.org/a.txt"] * 2}, "listed twice"),
        ({"url": "https://example.org/a.txt", "sha256": ["0" * 64] * 2}, "2 digests for 1 addresses"),
        ({"url": "https://example.org/a.txt", "sha256": "abc"}, "pattern"),
    ],
)
def test_a_wrong_description_is_refused(changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        HttpSource.model_validate({"domain": "web", "licence": "CC0-1.0", **changes})


def test_a_pinned_file_need_not_be_fetched_to_be_known(site: Site) -> None:
    site.answers["/a.txt"] = whole(b"one")
    config = source(site, "/a.txt", sha256=hashlib.sha256(b"one").hexdigest())
    assert list(observe(config).values()) == [hashlib.sha256(b"one").hexdigest()] and site.asked == []
