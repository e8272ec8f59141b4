"""When two addresses lead to one page: what differs between them says how somebody came there, not what is there."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

# Marks that campaigns and search engines hang on a link.
_TRACKING = re.compile(r"utm_\w+|[gf]bclid|gclid|msclkid|mc_[ce]id|igshid|ref_src", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def same_page(uri: str) -> str:
    """What all addresses of one page share; "" for a uri that is no web address.

    Scheme, ``www.``, default port, closing slash, fragment, order of the query and marks of tracking do not count.
    RefinedWeb (Penedo et al. 2023, section G.3) removes documents whose address was seen in another crawl.
    """
    try:
        parts = urlsplit(uri.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme.lower() not in _DEFAULT_PORTS or not host:
        return ""
    query = sorted(
        pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.fullmatch(pair[0])
    )
    place = host.removeprefix("www.") + (f":{port}" if port not in (None, *_DEFAULT_PORTS.values()) else "")
    # A page drawn by a script has its address after `#!`.
    fragment = f"#{parts.fragment}" if parts.fragment.startswith("!") else ""
    return f"{place}{parts.path.rstrip('/')}?{urlencode(query)}{fragment}"
