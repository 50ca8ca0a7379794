"""Patterns of e-mail addresses, telephone numbers and IPv4 addresses: our own, and those of allenai/dolma."""

from __future__ import annotations

import re
from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

EMAIL, PHONE, ADDRESS = "EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS"
Place = tuple[int, int]

LONGEST_LOCAL_PART = 64  # octets, RFC 5321, section 4.5.3.1.1
LONGEST_DOMAIN = 255  # octets, section 4.5.3.1.2
# The part before the sign ends just before it; a longer run of such characters is no address.
LOCAL_PART = re.compile(r"(?<![\w+%-])[\w+-](?:[\w.+%'-]*[\w+%-])?\Z")
PART_OF_LOCAL = re.compile(r"[\w+%-]")
LEADING = ".'"  # may stand before it (an ellipsis, a quote) and belong to the text
DOMAIN = re.compile(r"(?:\w(?:[\w-]*\w)?\.)+[^\W\d](?:[\w-]*\w)?(?![\w-]*@)")
# Ten digits behind a parenthesis or a number (24/7 555-123-4567) are a telephone number if they are written as one.
SEPARATED = r"(?:\+?1[-. ]{0,2})?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}"
PHONE_NUMBER = re.compile(
    rf"(?<![\w.+-])(?:(?<!\()(?<!\d[ )])|(?={SEPARATED}))"
    r"(?:\+?1[-. ]{0,2})?(?:\(\d{3}\)|\d{3})[-. ]*\d{3}[-. ]?\d{4}(?![\w-])"
)
OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
IP_ADDRESS = re.compile(rf"(?<![\w.])(?:{OCTET}\.){{3}}{OCTET}(?!\w|\.\w)")
URL = re.compile(r"(?:https?://|www\d{0,3}\.|[a-z0-9.-]+\.[a-z]{2,4}/)[^\s<>]+", re.IGNORECASE)
NOT_IN_URL = re.compile(r"[\s<>]")
BEFORE_URL = regex.compile(r"(?r)[\s\x1c-\x1f<>]")  # the last such character: these are the white space of ``re`` too
SIGN_OF_URL = re.compile(r"/|www", re.IGNORECASE)  # without one there is no URL
NUMBER_OF_A_BOOK = re.compile(r"\b(?:isbn|doi)\b|#", re.IGNORECASE)

# allenai/dolma, python/dolma/taggers/pii.py: what it matches, wanted for equal answers alone.
AROUND = r".\s@,?!;:)("
DOLMA_EMAIL = re.compile(rf"[{AROUND}]*([^\s@]+@[^\s@,?!;:)(]+?)[{AROUND}]?[\s]")
DOLMA_PHONE = re.compile(r"\s+\(?\d{3}\)?[-. ]*\d{3}[-. ]?\d{4}")
DOLMA_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
DOLMA_ADDRESS = re.compile(rf"(?:{DOLMA_OCTET}\.){{3}}{DOLMA_OCTET}")


def find_emails(text: str) -> Iterator[Place]:
    """Start and end of the e-mail addresses in ``text``: a local part, ``@``, a domain with a dot; any script."""
    sign = text.find("@")
    while sign >= 0:
        local = LOCAL_PART.search(text, max(0, sign - LONGEST_LOCAL_PART), sign)
        # Two characters more, which tell whether the domain goes on.
        domain = DOMAIN.match(text, sign + 1, sign + 3 + LONGEST_DOMAIN) if local else None
        if local and domain and len(domain[0]) <= LONGEST_DOMAIN and _begins(text, local.start()):
            yield local.start(), domain.end()
        sign = text.find("@", sign + 1)


def _begins(text: str, start: int) -> bool:
    """Whether a local part that begins at ``start`` is whole, not the end of a longer one."""
    while start and text[start - 1] in LEADING:
        start -= 1
    return not (start and PART_OF_LOCAL.match(text, start - 1))


def find_phones(text: str) -> Iterator[Place]:
    """Start and end of the ten-digit telephone numbers in ``text``, a country code 1 included."""
    return (match.span() for match in PHONE_NUMBER.finditer(text))


def find_addresses(text: str) -> Iterator[Place]:
    """Start and end of the IPv4 addresses in ``text``."""
    return (match.span() for match in IP_ADDRESS.finditer(text))


def find_dolma_emails(text: str, by_paragraph: bool) -> Iterator[Place]:
    """As allenai/dolma: white space must follow and is taken along, as is what stands before.

    The rule that there be a dot in the domain looks at the address ``by_paragraph``, else at the whole match.
    """
    for match in DOLMA_EMAIL.finditer(text):
        local, domain = (match[1] if by_paragraph else match[0]).split("@")[:2]
        if local.strip() != "(" and "." in domain:
            yield match.span()


def find_dolma_phones(text: str, by_paragraph: bool) -> Iterator[Place]:
    """As allenai/dolma: with the white space that must stand before, and wherever the number goes on."""
    return (match.span() for match in DOLMA_PHONE.finditer(text))


def find_dolma_addresses(text: str, by_paragraph: bool) -> Iterator[Place]:
    """As allenai/dolma: inside longer numbers too."""
    return (match.span() for match in DOLMA_ADDRESS.finditer(text))
