"""Only public web addresses may be asked, judged by where they lead."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tasks.errors import SourceError
from tasks.sources.addresses import is_public, problem, resolved


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("file:///etc/passwd", "no http or https"),
        ("ftp://example.org/a", "no http or https"),
        ("http:///a", "names no host"),
        ("http://jane:secret@example.org/a", "user name or password"),
        ("http://example.org:99999/a", "no web address"),
        ("http://example.org/a b", "spaces or control"),
        ("http://example.org/a\r\nHost: else", "spaces or control"),
    ],
)
def test_what_is_no_web_address_is_told(url: str, wrong: str) -> None:
    assert wrong in problem(url)
    with pytest.raises(SourceError) as caught:
        resolved(url, allow_private=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1"),
    ],
)
def test_addresses_of_this_machine_and_its_network_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1"])
def test_no_spelling_of_this_machine_gets_through(host: str) -> None:
    with pytest.raises(SourceError, match=r"no public address|not known"):
        resolved(f"http://{host}:80/a", allow_private=False)


def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    with pytest.raises(SourceError, match=r"leads to 10\.0\.0\.1"):
        resolved("http://example.org/a", allow_private=False)


def test_the_address_that_was_judged_is_the_one_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = ["8.8.8.8", "127.0.0.1"]

    def ask(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), 443))]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    target = resolved("https://example.org/a", allow_private=False)
    assert (target.ip, target.origin) == ("8.8.8.8", ("https", "example.org", 443))
    with pytest.raises(SourceError, match="no public address"):
        resolved("https://example.org/a", allow_private=False)
