"""Cutting a long document into passages: chapters and articles, else runs of paragraphs.

The passages of a text, laid end to end, are the text. A passage ends before a heading, or before the paragraph with
which it would grow beyond the size wanted; a paragraph much longer than that is cut at white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*|\n(?=\S)")  # an empty line, or the next line that is not indented
HEADING = re.compile(
    r"(?:#{1,6} |(?:chapter|book|part|article|section|kapitel|buch|teil|artikel|chapitre|livre|partie|cap[ií]tulo|libro"
    r"|livro|parte|art[ií]culo|artigo|capitolo|articolo)\b.{0,80}$|[IVXLC]{1,7}\.?$|\d{1,3}\.?$)",
    re.IGNORECASE | re.MULTILINE,
)
FEWEST_WANTED = 64  # passages that a domain is cut into, where its text is long enough
SMALLEST, LARGEST = 500, 8000  # bytes


def passage_size(total: int) -> int:
    """Bytes of a passage for a domain of ``total`` bytes: a 64th, at least 500 and at most 8,000."""
    return max(SMALLEST, min(LARGEST, total // FEWEST_WANTED))


def paragraphs_of(text: str, size: int) -> Iterator[str]:
    """Paragraphs with the white space behind them, none of more than 2 × ``size`` characters."""
    begin = 0
    ends = [match.end() for match in PARAGRAPH.finditer(text)]
    for end in [*ends, len(text)]:
        while end - begin > 2 * size:
            space = max(
                text.rfind(" ", begin + size // 2, begin + size), text.rfind("\n", begin + size // 2, begin + size)
            )
            cut = begin + size if space < 0 else space + 1
            yield text[begin:cut]
            begin = cut
        if end > begin:
            yield text[begin:end]
        begin = end


def passages(text: str, size: int) -> list[str]:
    """Passages of about ``size`` bytes; each holds more than white space, and ``"".join`` gives ``text`` back.

    A heading ends a passage that has reached half the size, so that a run of headings does not make one each.
    """
    found: list[str] = []
    current: list[str] = []
    length = 0
    for paragraph in paragraphs_of(text, size):
        part = len(paragraph.encode())
        starts = HEADING.match(paragraph) is not None and length >= size // 2
        if current and (starts or length + part > size) and "".join(current).strip():
            found.append("".join(current))
            current, length = [], 0
        current.append(paragraph)
        length += part
    last = "".join(current)
    if found and (not last.strip() or len(last.encode()) < size // 4):
        found[-1] += last
    elif last:
        found.append(last)
    return found
