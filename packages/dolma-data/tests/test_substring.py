from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.config.dedupe import SubstringRule
from dolma_data.dedupe.substring import SEPARATOR, find_repeats
from dolma_data.files import digest
from dolma_data.kernels.substring import longest_previous_factors

METHOD = ("--dedupe.method", "substring", "--dedupe.documents.attribute_name", "again")


def stretches(texts: list[str], **settings: Any) -> list[tuple[int, int, int, int]]:
    """Document, first and last code point, and document of the first copy of every repeated stretch."""
    encoded = [text.encode() for text in texts]
    sizes = np.array([len(text) for text in encoded], dtype=np.int64)
    starts = np.cumsum(sizes + 1) - (sizes + 1)
    text = np.frombuffer(bytearray(b"".join(each + bytes([SEPARATOR]) for each in encoded)), dtype=np.uint8)
    found = find_repeats(text, starts, starts + sizes, SubstringRule(**settings))
    rows = []
    for owner, begin, end, copy in zip(*(column.tolist() for column in found), strict=True):
        before, inside = (text[a:b].tobytes().decode() for a, b in ((starts[owner], begin), (begin, end)))
        first = int(np.searchsorted(starts, copy, side="right")) - 1
        rows.append((owner, len(before), len(before) + len(inside), first))
    return rows


def repeats(texts: list[str], **settings: Any) -> list[tuple[int, str, int]]:
    """Document, text and document of the first copy of every repeated stretch."""
    return [(owner, texts[owner][begin:end], first) for owner, begin, end, first in stretches(texts, **settings)]


def naive(texts: list[str], least: int) -> list[set[int]]:
    """Characters of each text that lie in a substring of ``least`` characters that begins earlier, too."""
    seen: set[str] = set()
    covered = []
    for text in texts:
        places: set[int] = set()
        for at in range(len(text) - least + 1):
            piece = text[at : at + least]
            if piece in seen:
                places |= set(range(at, at + least))
            seen.add(piece)
        covered.append(places)
    return covered


def copy_of_longest(texts: list[str], owner: int, begin: int) -> int:
    """The first document with the longest piece that begins at ``begin`` and also earlier."""
    for end in range(len(texts[owner]), begin, -1):
        piece = texts[owner][begin:end]
        for number in range(owner):
            if piece in texts[number]:
                return number
        if 0 <= texts[owner].find(piece) < begin:
            return owner
    raise AssertionError("nothing there begins earlier")


def test_the_first_copy_stays_and_others_name_it() -> None:
    texts = ["one two three four", "zero one two three five", "two three"]
    assert repeats(texts, min_length=9) == [(1, "one two three f", 0), (2, "two three", 0)]
    assert repeats(texts, min_length=16) == []


def test_offsets_are_code_points_in_any_script(write_documents: Any, read_jsonl: Any, dolma: Any) -> None:
    rows = [
        {"id": "1", "text": "🎉 Über alle Grenzen hinweg", "source": "s"},
        {"id": "2", "text": "Größe: Über alle Grenzen, ja", "source": "s"},
        {"id": "3", "text": "日本語のテキストと日本語のテキスト", "source": "s"},
    ]
    root = write_documents(rows)
    assert dolma("dedupe", "--documents", root, *METHOD, "--dedupe.substring.min-length", "8") == 0
    found = [row["attributes"] for row in read_jsonl(root / "attributes/again/a.jsonl.gz")]
    assert found == [{}, {"again": [[6, 24, 1]]}, {"again": [[9, 17, 1]]}]
    assert rows[1]["text"][6:24] == " Über alle Grenzen"
    matches = read_jsonl(root / "attributes/again/matches.jsonl.gz")
    assert [(row["id"], row["start"], row["first_id"]) for row in matches] == [("2", 6, "1"), ("3", 9, "3")]


def test_a_length_in_bytes_characters_or_words() -> None:
    texts = ["äöü alpha beta gamma", "x äöü alpha beta gammas"]
    assert repeats(texts, min_length=23, unit="characters") == []
    assert repeats(texts, min_length=23, unit="bytes") == [(1, "äöü alpha beta gamma", 0)]
    # gamma is a part of gammas and counts as no word
    assert repeats(texts, min_length=3, unit="words") == [(1, "äöü alpha beta gamma", 0)]
    assert repeats(texts, min_length=4, unit="words") == []


def test_nothing_is_found_across_documents() -> None:
    assert repeats(["abc", "def", "abc", "def"], min_length=4) == []
    assert repeats(["abcd", "", "abcd"], min_length=4) == [(2, "abcd", 0)]


@given(st.lists(st.text("aäb", max_size=14), max_size=5), st.integers(1, 5))
def test_the_stretches_are_what_a_search_for_every_piece_finds(texts: list[str], least: int) -> None:
    covered: list[set[int]] = [set() for _ in texts]
    for owner, begin, end, first in stretches(texts, min_length=least):
        assert first == copy_of_longest(texts, owner, begin)
        assert not covered[owner] & set(range(begin, end))
        covered[owner] |= set(range(begin, end))
    assert covered == naive(texts, least)


@given(st.binary(max_size=30).map(lambda data: bytes(byte % 3 for byte in data)))
def test_factors_are_the_longest_that_begin_earlier(data: bytes) -> None:
    text = np.frombuffer(data, dtype=np.uint8)
    suffixes = np.array(sorted(range(len(data)), key=lambda at: data[at:]), dtype=np.int32)
    lengths, sources = longest_previous_factors(text, suffixes)
    for at in range(len(data)):
        longest = max(
            (
                length
                for other in range(at)
                for length in range(len(data) - at + 1)
                if data[other : other + length] == data[at : at + length]
            ),
            default=0,
        )
        assert lengths[at] == longest
        if longest:
            source = int(sources[at])
            assert source < at
            assert data[source : source + longest] == data[at : at + longest]


def test_any_number_of_processes_gives_the_same_bytes(
    write_documents: Any, dolma: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 300)
    rows = [{"id": str(k), "text": f"number {k} of many lines {k % 3}" * 3, "source": "s"} for k in range(20)]
    root = write_documents(rows)
    digests = []
    for processes in ("1", "2"):
        options = ("--dedupe.substring.min-length", "20", "--processes", processes)
        assert dolma("dedupe", "--documents", root, *METHOD, *options) == 0
        digests.append(digest(root / "attributes/again"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((*METHOD, "--dedupe.substring.min-length", "0"), "dedupe.substring.min_length is 0"),
        ((*METHOD, "--dedupe.min-length", "9"), "dedupe.min_length is about whole units"),
        ((*METHOD, "--dedupe.documents.key", "$.id"), "looks into texts, not $.id"),
    ],
)
def test_mistakes_are_told(
    write_documents: Any, dolma: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], what: str
) -> None:
    root = write_documents([{"id": "1", "text": "x", "source": "s"}])
    assert dolma("dedupe", "--documents", root, *options) == 2
    assert what in capsys.readouterr().err
