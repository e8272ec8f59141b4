"""One answer of a web server, redirects followed hop by hop, each judged anew."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin

import httpx

from tasks.errors import SourceError
from tasks.sources.addresses import Target, resolved

AGENT = "unveil"
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


@contextmanager
def client(stall: float) -> Iterator[httpx.Client]:
    """A client that asks nobody on the way: proxies of the environment would connect elsewhere than was judged.

    Args:
        stall: seconds of silence after which an answer is given up.
    """
    limits = httpx.Timeout(stall)
    with httpx.Client(
        trust_env=False, follow_redirects=False, timeout=limits, verify=ssl.create_default_context()
    ) as made:
        yield made


@contextmanager
def answer(
    http: httpx.Client,
    url: str,
    headers: Mapping[str, str],
    token: str,
    allow_private: bool,
    method: str = "GET",
) -> Iterator[httpx.Response]:
    """The answer to a question, its body still to be read; the token goes to the first server alone.

    Raises:
        SourceError: an address may not be asked, or the redirects have no end.
        httpx.TransportError: no answer.
    """
    first = target = resolved(url, allow_private)
    for _ in range(_MOST_REDIRECTS + 1):
        secret = {"Authorization": f"Bearer {token}"} if token and target.origin == first.origin else {}
        response = http.send(_request(http, method, target, {**headers, **secret}), stream=True)
        try:
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                yield response
                return
            onwards = urljoin(target.url, response.headers["location"])
        finally:
            response.close()
        try:
            target = resolved(onwards, allow_private)
        except SourceError as error:
            raise SourceError(f"redirects to an address that {error.problem}", where=url) from error
    raise SourceError(f"redirects more than {_MOST_REDIRECTS} times", where=url)


def _request(http: httpx.Client, method: str, target: Target, headers: Mapping[str, str]) -> httpx.Request:
    url = httpx.URL(target.url)
    host = url.netloc.decode("ascii")
    request = http.build_request(
        method, url.copy_with(host=target.ip), headers={"User-Agent": AGENT, **headers, "Host": host}
    )
    request.extensions["sni_hostname"] = target.host
    return request
