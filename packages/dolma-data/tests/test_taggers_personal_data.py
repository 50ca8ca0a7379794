"""E-mail addresses, telephone numbers and IPv4 addresses on small texts with exact values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tagger_scores import scores_of

from dolma_data.taggers.personal_data import _inside_url
from dolma_data.taggers.personal_data_patterns import PHONE_NUMBER, URL


def mentions(text: str) -> dict[str, list[str]]:
    """Texts of the personal data found."""
    found = scores_of("pii_regex_with_counts_fast_v2", text)
    return {name: [text[start:end] for start, end, _ in spans] for name, spans in found.items() if name.isupper()}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("write to jo.do+x@mail.example.org", "jo.do+x@mail.example.org"),
        ("jo@example.org", "jo@example.org"),
        ("(jo@example.org), then", "jo@example.org"),
        ("<jo@example.org>.", "jo@example.org"),
        ("mailto:jo@example.org?subject=x", "jo@example.org"),
        ("'jo@example.org'", "jo@example.org"),
        ("o'hara@example.org", "o'hara@example.org"),
        ("ask ...jo@example.org", "jo@example.org"),
        ("." * 80 + "jo@example.org", "jo@example.org"),
        ("Почта: имя@пример.рф.", "имя@пример.рф"),
        ("連絡先：山田@例え.jp。", "山田@例え.jp"),
        ("🎉🎉 jo@example.org 🎉", "jo@example.org"),
        ("line\njo@example.org\n", "jo@example.org"),
    ],
)
def test_email_addresses_are_found_exactly(text: str, address: str) -> None:
    assert mentions(text) == {"EMAIL_ADDRESS": [address]}


@pytest.mark.parametrize(
    "text",
    [
        *("@decorator", "a @ b.c", "jo@localhost", "user@host:22", "x@1.2", "jo@ example.org", "...@b.org"),
        *("a" * 70 + "@b.org", "a" * 70 + ".jo@b.org", "a" * 70 + "'.jo@b.org"),
    ],
)
def test_what_is_no_email_address(text: str) -> None:
    assert "EMAIL_ADDRESS" not in mentions(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("555-123-4567", "555-123-4567"),
        ("call (555) 123-4567 now", "(555) 123-4567"),
        ("tel. 555.123.4567.", "555.123.4567"),
        ("+1 555 123 4567", "+1 555 123 4567"),
        ("at 5551234567", "5551234567"),
        ("(555-123-4567)", "555-123-4567"),
        ("(1-800-555-1234)", "1-800-555-1234"),
        ("((555) 123-4567)", "(555) 123-4567"),
        ("open 24/7 555-123-4567", "555-123-4567"),
        ("in 2019 (555)123-4567", "(555)123-4567"),
        ("هاتف ٥٥٥-١٢٣-٤٥٦٧", "٥٥٥-١٢٣-٤٥٦٧"),
    ],
)
def test_telephone_numbers_are_found_exactly(text: str, number: str) -> None:
    assert mentions(text) == {"PHONE_NUMBER": [number]}


@pytest.mark.parametrize(
    "text",
    [
        *("55512345678", "3.1415926535897", "id_5551234567", "12345678901234", "5551234567x", "12 345 678 9012"),
        *("+49 30 555 123 4567", "4111-1111-1111-1111", "2019 5551234567", "time(1414906200)"),
    ],
)
def test_longer_numbers_are_no_telephone_numbers(text: str) -> None:
    assert mentions(text) == {}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("http://192.168.1.254:80/x", "192.168.1.254"),
        ("Host 255.255.255.255.", "255.255.255.255"),
        ("アドレス 8.8.8.8、", "8.8.8.8"),
    ],
)
def test_addresses_are_found_exactly(text: str, address: str) -> None:
    assert mentions(text) == {"IP_ADDRESS": [address]}


@pytest.mark.parametrize("text", ["1.2.3.4.5", "256.1.1.1", "1.2.3", "1.2.3.4a", "v1.2.3.4", "1.1.1.256"])
def test_what_is_no_address(text: str) -> None:
    assert mentions(text) == {}


def test_counts_and_fraction_of_personal_data() -> None:
    text = "jo@example.org\n10.0.0.1\nplain"
    found = scores_of("pii_regex_with_counts_fast_v2", text)
    assert found["doc_count"] == [(0, 29, 2.0)]
    assert found["doc_frac"] == [(0, 29, (14 + 8) / 29)]


def test_characters_that_two_spans_cover_count_once() -> None:
    found = scores_of("pii_regex_with_counts_fast_v2", "555-123-4567@example.org and")
    assert (found["EMAIL_ADDRESS"], found["PHONE_NUMBER"]) == ([(0, 24, 1.0)], [(0, 12, 1.0)])
    assert found["doc_frac"] == [(0, 28, 24 / 28)]


@given(st.text(max_size=40), st.text(max_size=40))
def test_an_address_on_a_line_of_its_own_is_found_between_any_texts(before: str, after: str) -> None:
    text = f"{before}\njo@example.org\n{after}"
    spans = scores_of("pii_regex_with_counts_fast_v2", text)["EMAIL_ADDRESS"]
    assert (len(before) + 1, len(before) + 15, 1.0) in spans


SCRIPTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@given(SCRIPTS, st.sampled_from(["jo@example.org", "имя@пример.рф", "山田@例え.jp"]), SCRIPTS)
def test_offsets_are_exact_in_any_script_and_at_the_end_of_the_text(before: str, address: str, after: str) -> None:
    ending = f"{before} ({address})"
    assert (len(before) + 2, len(ending) - 1, 1.0) in scores_of("pii_regex_v2", ending)["EMAIL_ADDRESS"]
    text = f"{before}\n{address}"
    assert (len(before) + 1, len(text), 1.0) in scores_of("pii_regex_with_counts_fast_v2", text)["EMAIL_ADDRESS"]
    for spans in scores_of("pii_regex_with_counts_v2", f"{text} 555-123-4567 {after} 10.0.0.1").values():
        assert all(0 <= start <= end <= len(text) + len(after) + 24 for start, end, _ in spans)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("call 555-123-4567 while doing nothing", True),
        ("ISBN 555-123-4567", False),
        ("doi: 10.0.0.1", False),
        ("see https://example.org/555-123-4567", False),
        ("see https://example.org/ or call 555-123-4567", True),
        ("#1 call 555-123-4567", False),
        ("#" + " " * 101 + "555-123-4567", True),
    ],
)
def test_numbers_of_books_and_parts_of_urls_are_dropped(text: str, kept: bool) -> None:
    found = scores_of("pii_regex_v2", text)
    assert ("PHONE_NUMBER" in found or "IP_ADDRESS" in found) == kept
    assert found["doc"] == [(0, len(text), kept / len(text.split()))]


def test_a_text_without_words_has_no_number_of_spans_a_word() -> None:
    for name in ("pii_regex_v1", "pii_regex_v2"):
        assert scores_of(name, " \n") == {"doc": [(0, 2, -1.0)]}
    assert scores_of("pii_regex_with_counts_v2", "")["doc_count"] == [(0, 0, 0.0)]


def test_dolma_takes_along_what_stands_around_and_misses_the_end() -> None:
    text = "write (jo@example.org) now. Or 1.2.3.4.5\n 555-123-45678 jo@example.org"
    differences = ["pii-email", "pii-phone", "pii-ip-address", "pii-doc-frac"]
    assert scores_of("pii_regex_with_counts_fast_v2", text, differences=differences) == {
        "EMAIL_ADDRESS": [(5, 23, 1.0)],
        "PHONE_NUMBER": [(41, 54, 1.0)],
        "IP_ADDRESS": [(31, 38, 1.0)],
        "doc_count": [(0, 70, 3.0)],
        "doc_frac": [(0, 70, (18 + 13 + 7 + 70) / 70)],
    }


def test_presidio_finds_the_three_types_without_network() -> None:
    pytest.importorskip("presidio_analyzer", reason="the extra presidio is not installed")
    text = "Mail jo@example.org or call (212) 555-1234 from 10.0.0.1 now, имя@почта.рф"
    found = scores_of("pii_presidio_v1", text)
    assert [text[start:end] for start, end, _ in found["EMAIL_ADDRESS"]] == ["jo@example.org", "имя@почта.рф"]
    assert [text[start:end] for start, end, _ in found["PHONE_NUMBER"]] == ["(212) 555-1234"]
    assert [text[start:end] for start, end, _ in found["IP_ADDRESS"]] == ["10.0.0.1"]
    assert found["doc"] == [(0, len(text), 4 / 10)]


@given(st.lists(st.sampled_from(["www.", "a.org/", "http://", "<", " ", "555-123-4567", "(555) 1234567", "x"])))
def test_numbers_inside_urls_are_those_that_a_search_of_the_whole_line_finds(pieces: list[str]) -> None:
    text = "".join(pieces)
    for match in PHONE_NUMBER.finditer(text):
        start, end = match.span()
        covered = any(url.start() <= start and url.end() > start + 1 for url in URL.finditer(text))
        assert _inside_url(text, start, end) == covered


def test_a_domain_is_as_long_as_mail_allows() -> None:
    domain = ".".join(["d" * 62] * 4)
    assert mentions(f"jo@{domain}.de.")["EMAIL_ADDRESS"] == [f"jo@{domain}.de"]
    assert mentions(f"jo@{domain}.defg") == {}


def test_a_name_without_end_takes_linear_time() -> None:
    assert mentions("jo@b." + "b" * 1_000_000 + "@") == {}
