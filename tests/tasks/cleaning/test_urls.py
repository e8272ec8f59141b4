"""Addresses of one page agree, addresses of two pages do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cleaning.urls import same_page


@pytest.mark.parametrize(
    "other",
    [
        "http://example.org/a?x=1&y=2",
        "https://www.example.org/a/?y=2&x=1",
        "HTTPS://EXAMPLE.org:443/a?x=1&y=2#part",
        " https://example.org/a?utm_source=n&x=1&fbclid=z&y=2 ",
    ],
)
def test_addresses_of_one_page_agree(other: str) -> None:
    assert same_page(other) == same_page("https://example.org/a?x=1&y=2") != ""


@pytest.mark.parametrize(
    "other",
    [
        "https://example.org/b?x=1",
        "https://example.org/A?x=1",
        "https://example.org/a?x=2",
        "https://example.org/a?x=1&x=1",
        "https://example.com/a?x=1",
        "https://example.org:8080/a?x=1",
        "https://example.org/a?x=1#!route",
    ],
)
def test_addresses_of_two_pages_differ(other: str) -> None:
    assert same_page(other) != same_page("https://example.org/a?x=1")


@pytest.mark.parametrize(
    "uri",
    ["", "file:corpus/a.txt", "pkg:gensim/x", "https://", "http://[::1", "https://h:99999/", "mailto:a@b.io"],
)
def test_what_is_no_web_address_has_no_page(uri: str) -> None:
    assert same_page(uri) == ""


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    same_page(text)
    same_page(f"https://example.org/{text}")
