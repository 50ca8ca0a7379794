"""E-mail addresses, telephone numbers and IPv4 addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ..batch import Batch, Spans, listed_spans, whole_documents
from .registry import tagger

EMAIL, PHONE, ADDRESS = "EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS"
LONGEST_LOCAL_PART = 64  # octets, RFC 5321, section 4.5.3.1.1
# The part before the sign ends just before it; a longer run of such characters is no address.
LOCAL_PART = re.compile(r"(?<![\w.+%'-])'*([\w+-](?:[\w.+%'-]*[\w+%-])?)\Z")
DOMAIN = re.compile(r"(?:\w(?:[\w-]*\w)?\.)+[^\W\d](?:[\w-]*\w)?(?![\w-]*@)")
PHONE_NUMBER = re.compile(
    r"(?<![\w.(+-])(?<!\d[ )])(?:\+?1[-. ]{0,2})?(?:\(\d{3}\)|\d{3})[-. ]*\d{3}[-. ]?\d{4}(?![\w-])"
)
OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
IP_ADDRESS = re.compile(rf"(?<![\w.])(?:{OCTET}\.){{3}}{OCTET}(?!\w|\.\w)")
Row = tuple[int, int, int, float]


@tagger(
    "pii_regex_with_counts_fast_v2",
    types=(EMAIL, PHONE, ADDRESS, "doc_count", "doc_frac"),
    source="regular expressions in the manner of allenai/dolma (Soldaini et al. 2024, arXiv 2402.00159)",
)
def pii_regex_with_counts_fast_v2(batch: Batch) -> Iterator[Spans]:
    """Spans of e-mail addresses, ten-digit telephone numbers and IPv4 addresses, searched line by line.

    ``doc_count`` is their number and ``doc_frac`` the fraction of the text's code points that they cover.

    Other than allenai/dolma's tagger of this name: a span holds the address or number alone, without the punctuation
    and white space around it; addresses at the very end of a text and numbers at its very beginning are found; a
    telephone number or IPv4 address that goes on to either side (a longer number, a version of five parts) is none; a
    country code 1 belongs to the number; ``doc_frac`` does not count the whole document as one more span; and texts
    with more than 10,000 question marks are not skipped, for no pattern here takes more than linear time.
    """
    from ..kernels import lines as rules
    from ..kernels.characters import character_classes

    lines = batch.lines
    owners, numbers, kinds = rules.personal_data_candidates(
        batch.buffer, lines.first, lines.starts, lines.ends, lines.characters, character_classes()
    )
    found: dict[str, list[Row]] = {EMAIL: [], PHONE: [], ADDRESS: []}
    for document, line, kind in zip(owners.tolist(), numbers.tolist(), kinds.tolist(), strict=True):
        text = batch.text_of(int(lines.starts[line]), int(lines.ends[line]))
        at = int(lines.characters[line])
        if kind & rules.MAY_HOLD_EMAIL:
            found[EMAIL] += ((document, at + start, at + end, 1.0) for start, end in find_emails(text))
        if kind & rules.MAY_HOLD_PHONE:
            found[PHONE] += ((document, at + m.start(), at + m.end(), 1.0) for m in PHONE_NUMBER.finditer(text))
        if kind & rules.MAY_HOLD_ADDRESS:
            found[ADDRESS] += ((document, at + m.start(), at + m.end(), 1.0) for m in IP_ADDRESS.finditer(text))
    for name, rows in found.items():
        yield listed_spans(name, rows)
    counts = np.zeros(len(batch))
    covered = np.zeros(len(batch))
    reached: dict[int, int] = {}
    for document, start, end, _ in sorted(row for rows in found.values() for row in rows):
        counts[document] += 1
        covered[document] += max(0, end - max(start, reached.get(document, 0)))
        reached[document] = max(end, reached.get(document, 0))
    yield whole_documents(batch, "doc_count", counts)
    yield whole_documents(batch, "doc_frac", covered / np.maximum(batch.lengths, 1))


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of the e-mail addresses in ``text``: a local part, ``@``, a domain with a dot; any script."""
    sign = text.find("@")
    while sign >= 0:
        local = LOCAL_PART.search(text, max(0, sign - LONGEST_LOCAL_PART), sign)
        domain = DOMAIN.match(text, sign + 1) if local else None
        if local and domain:
            yield local.start(1), domain.end()
        sign = text.find("@", sign + 1)
