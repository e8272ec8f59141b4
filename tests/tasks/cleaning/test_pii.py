"""Personal data are found by their structure, ordinary numbers are not, and a second look finds nothing."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.cleaning.pii import KINDS, mask

# Published examples of valid forms: documentation ranges where there are any.
FOUND = [
    ("email", "Write to jane.doe+news@mail.example.co.uk!", "Write to [EMAIL]!"),
    ("email", "<x_1@example.org>, thanks", "<[EMAIL]>, thanks"),
    ("iban", "IBAN GB82 WEST 1234 5698 7654 32 please", "IBAN [IBAN] please"),
    ("iban", "pay gb82west12345698765432.", "pay [IBAN]."),
    ("iban", "DE89370400440532013000", "[IBAN]"),
    ("card", "card 4111 1111 1111 1111, exp.", "card [CARD], exp."),
    ("card", "378282246310005", "[CARD]"),
    ("card", "3782-822463-10005", "[CARD]"),
    ("ip", "from 8.8.8.8.", "from [IP]."),
    ("ip", "at 2600:1f18:0:1::5 today", "at [IP] today"),
    ("national-id", "SSN 219-09-9999", "SSN [NATIONAL-ID]"),
    ("national-id", "NI AB 12 34 56 C.", "NI [NATIONAL-ID]."),
    ("national-id", "DNI 12345678Z", "DNI [NATIONAL-ID]"),
    ("national-id", "NIE X1234567L", "NIE [NATIONAL-ID]"),
    ("national-id", "NIR 2 55 08 14 168 025 38", "NIR [NATIONAL-ID]"),
    ("national-id", "CF RSSMRA85T10A562S", "CF [NATIONAL-ID]"),
    ("phone", "Ring +44 20 7946 0958 now", "Ring [PHONE] now"),
    ("phone", "(212) 555-0123", "[PHONE]"),
    ("phone", "212-555-0123 ext. 4", "[PHONE]"),
    ("phone", "01 99 00 12 34", "[PHONE]"),
    ("phone", "see (+33 1 99 00 12 34)", "see ([PHONE])"),
    ("phone", "01632 960123", "[PHONE]"),
    ("phone", "call me on 5550 1234", "call me on [PHONE]"),
    ("phone", "see (212.555.0123 x12) or", "see ([PHONE]) or"),
    ("phone", "call 612 345 678 tomorrow", "call [PHONE] tomorrow"),
    ("phone", "781 1704 office", "[PHONE] office"),
    ("phone", "0176/1234567", "[PHONE]"),
    ("phone", "Phone:\n555 01 23 45", "Phone:\n[PHONE]"),
    ("phone", "06 12345678, 2nd floor", "[PHONE], 2nd floor"),
    ("phone", "011 2345-6789", "[PHONE]"),
    ("phone", "(11) 96123-4567", "[PHONE]"),
    ("phone", "8 (912) 345-67-89", "[PHONE]"),
    ("phone", "call 21 234 567 today", "call [PHONE] today"),
    ("phone", "Teléfono: 2123 4567", "Teléfono: [PHONE]"),
    ("phone", "M: 2123456", "M: [PHONE]"),
    ("phone", "2345678-Office", "[PHONE]-Office"),
    ("phone", "2123456 is my new number", "[PHONE] is my new number"),
    ("unannounced-phone", "I spoke to Jane 2125550123 yesterday", "I spoke to Jane [PHONE] yesterday"),
    ("unannounced-phone", "Jane Doe\n12 High Street\n2125550123\n", "Jane Doe\n12 High Street\n[PHONE]\n"),
    ("unannounced-phone", "Ask Jane (12125550123).", "Ask Jane ([PHONE])."),
    ("unannounced-phone", "from abroad 00441632960123 works", "from abroad [PHONE] works"),
    ("unannounced-phone", "it was 655 437 108 today", "it was [PHONE] today"),
    ("unannounced-phone", "it was 912 34 56 78", "it was [PHONE]"),
    ("unannounced-phone", "he had 32 14 56 78, she none", "he had [PHONE], she none"),
    ("unannounced-phone", "it was 11 2345-6789.", "it was [PHONE]."),
    ("unannounced-phone", "a plumber, 555-0123 or", "a plumber, [PHONE] or"),
    ("unannounced-phone", "a plumber, 555 0123 and ask", "a plumber, [PHONE] and ask"),
    ("unannounced-phone", "leave it with 2123 4567.", "leave it with [PHONE]."),
]
KEPT = [
    "from 1914-1918, on 2024-05-06, 06/05/2024 and 06.05.24 at 12:30:45",
    "version 2.0.58.1 and v1.2.3.4 at 127.0.0.1, 192.168.0.1 and 0.0.0.0, ::1",
    "1 000 000 people, 12,345,678 euros, $1234567.89 and 3.14159265358979",
    "ISBN 978-3-16-148410-0, ISSN 0317-8471, Genesis 1:1-2:3, 2 Kings 17:24",
    "GB82 WEST 1234 5698 7654 33 and 4111 1111 1111 1112 have wrong checksums",
    "d41d8cd98f00b204e9800998ecf8427e 123e4567-e89b-12d3-a456-426614174000 00:1A:2B:3C:4D:5E",
    "SSN 000-12-3456, 666-12-3456, 900-12-3456; DNI 12345678A",
    "a@b, @handle, user at example dot org, std::vector<int>::iterator",
    "score 21-19 15-21 21-18, page 1234567, part 12345-678",
    "driver number 5130634",
    "Call me in 1000000 years, or in 12 345 678 days; the call counted 12 345 678 people",
    "answers: ISBN 9783161484100, 978-3-16-148410-0 and 0-306-40615-2",
    "we reached 1234567 readers and called 20000000 lines",
    "0 10 20 30 40 50 60\n01 20 30 40 50 60 70 80",
    "calling games on the radio (1997-2007) and (12.05.1998), texts of 1914 1918",
    "It has 2147483647 of them, 4294967295 at most, 9876543210 or 3333333333 or 1234567890",
    "seed 2125550123, order number 2125550124, customer 2125550125; ISBN was 2123456802",
    "x = 2125550123\nf(2125550123)\n[2125550123]\n| 2125550123 |\nid:2125550123",
    "The epoch was 1700000000 then, 1700000000000 now, and on 2026100300 it was noon.",
    "left 2125550123  wide\tright\n2125550123\n2125550124\n\n17\n2125550125\nend",
    "at 704 1436 Redbud Drive, in 3747 3911 Fourth Avenue and 94941 2505 Hill Road",
    "sold 655 437 108 units, 655 437 108 € and 655 437 000 in all, no 655.437.108",
    "It fell in 2003 2004 and in 754-1985, and the draw was 22 31 33 42 today",
    "Minato-ku, Japan 530-0001. Buffer E4 80 02 01 41",
    "a list: 2125550123, 2125550124, 2125550125",
    "rows\n655 437 108 516 466 638\n655 437 108  516 466 638\n",
    "journals (2003) 12-05-06 and (1998) 12 05 98; in 2345678, work began",
    "enumerated (2) 2000-2004 and 0.2125550123, 2125550123.5, a2125550123, 2125550123b",
]


@pytest.mark.parametrize(("kind", "text", "expected"), FOUND)
def test_each_kind_is_found_and_leaves_its_name(kind: str, text: str, expected: str) -> None:
    assert mask(text) == (expected, {kind: 1})
    assert mask(text, [kind]) == (expected, {kind: 1})


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert mask(text) == (text, {})


def test_only_the_kinds_asked_for_are_replaced() -> None:
    text = "jane@example.org, 8.8.8.8"
    assert mask(text, []) == (text, {})
    assert mask(text, ["ip"]) == ("jane@example.org, [IP]", {"ip": 1})


def test_without_the_unannounced_only_the_sure_telephones_go() -> None:
    text = "Jane 2125550123 said 212-555-0199"
    assert mask(text) == ("Jane [PHONE] said [PHONE]", {"phone": 1, "unannounced-phone": 1})
    sure = [kind for kind in KINDS if kind != "unannounced-phone"]
    assert mask(text, sure) == ("Jane 2125550123 said [PHONE]", {"phone": 1})


def test_a_column_of_numbers_stays_whatever_of_it_was_replaced() -> None:
    """Otherwise each number that goes would bring the next one into prose, one round each."""
    column = "2125550124\n" * 5_000
    text = f"first\n8.8.8.8\n{column}212-555-0123\n{column}last"
    started = time.monotonic()
    assert mask(text).counts == {"ip": 1, "phone": 1}
    assert time.monotonic() - started < 30


def test_the_surer_kind_wins_where_two_overlap() -> None:
    assert mask("call 4111 1111 1111 1111 or 219-09-9999").counts == {"card": 1, "national-id": 1}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("212-555-0123 212-555-0199 212-555-0147", 3),
        ("+44 20 7946 0958 +44 20 7946 0959", 2),
        ("(212) 555-0123 (212) 555-0199", 2),
        ("020 7946 0958 020 7946 0959 020 7946 0960", 3),
        ("call 5550123 5550199", 2),
        ("1 2 212-555-0123 3 4", 1),
        (" ".join(["212-555-0123"] * 50), 50),
    ],
)
def test_numbers_in_a_row_are_all_found(text: str, count: int) -> None:
    masked = mask(text)
    assert masked.counts == {"phone": count} and "555" not in masked.text and "7946" not in masked.text


_PIECES = st.sampled_from(
    [
        *"0123456789 .-+()/@:x\n",
        *(text for _, text, _ in FOUND),
        "call ",
        "4111111111111111",
        "8.8.8.8",
        "219-09-9999",
        "a@b.io",
        "[PHONE]",
        "[EMAIL]",
        "GB82",
        " word ",
        "2125550123",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES, max_size=14).map("".join))
@example("8.8.8.88.8.8.8")
def test_a_second_look_finds_nothing(text: str) -> None:
    once = mask(text)
    assert mask(once.text) == (once.text, {})
    placeholders = [f"[{kind.upper()}]" for kind in KINDS]
    assert sum(once.counts.values()) >= sum(once.text.count(name) - text.count(name) for name in placeholders)


def test_a_second_look_finds_nothing_in_twenty_thousand_glued_texts() -> None:
    """Pieces of all kinds, with and without something between them: each find lays others open."""
    generator = random.Random(3)
    pieces = (
        [text for _, text, _ in FOUND] + KEPT + ["8.8.8.8", "a@b.io", "[PHONE]", "GB82", "call", "12345678"]
    )
    between = ["", " ", ",", "/", "-", ".", "\n", ", ", " x", "+", "(", ")"]
    for _ in range(20_000):
        text = "".join(
            generator.choice(pieces) + generator.choice(between) for _ in range(generator.randrange(1, 7))
        )
        once = mask(text)
        assert mask(once.text) == (once.text, {}), text


@pytest.mark.parametrize("kind", ["8.8.8.8", "8.8.8.8.", "call 12345678901234 ", "219-09-9999"])
def test_chains_of_finds_come_to_an_end(kind: str) -> None:
    text = "first line\n" + kind * 300 + "\nlast line"
    once = mask(text)
    assert mask(once.text) == (once.text, {})
    assert once.text.startswith("first line\n") and once.text.endswith("\nlast line")


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1 ",
        "1-",
        "1.",
        "a.",
        "a@",
        "@",
        "a-",
        "+1",
        "(1",
        "12:",
        "f:",
        "GB82 ",
        "1111 ",
        "x@y.",
        "call 1 ",
        "8.8.8.8",
        "212-555-0123 ",
        "+1 ",
        "call 12345678901234 ",
        "2125550123 ",
        "2125550123\n",
        "a 2125550123, ",
        "655 437 108 a ",
        "(1) 234 5678 ",
        "06 12345678 ",
        "t: 2123456 ",
    ],
)
def test_a_megabyte_made_to_be_slow_is_not(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.monotonic()
    mask(text)
    assert time.monotonic() - started < 60
