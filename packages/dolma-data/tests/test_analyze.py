from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.analysis.corpus import describe_lengths, domain_of
from dolma_data.analysis.ngrams import NgramCounters, best, count_cells, follow
from dolma_data.batch import Batch

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "1", "source": "web", "text": "the cat sat on the mat", "metadata": {"url": "https://www.a.example/x"}},
    {"id": "2", "source": "web", "text": "the cat sat on the mat", "metadata": {"url": "http://a.example/y"}},
    {"id": "2", "source": "web", "text": "the cat", "metadata": {"url": "b.example/z"}},
    {"id": "1", "source": "books", "text": "the cat sat on the mat"},
]


@pytest.fixture
def analysis(dolma: Any, write_documents: Any, tmp_path: Path) -> dict[str, Any]:
    root = write_documents(DOCUMENTS)
    arguments = ["--output", str(tmp_path / "out"), "--ngrams", "1", "3", "--top", "2", "--no-language"]
    assert dolma("analyze", "--documents", root, *arguments) == 0
    return dict(json.loads((tmp_path / "out" / "analysis.json").read_text()))


def test_counts_by_source_and_domain(analysis: dict[str, Any]) -> None:
    assert analysis["total"] == {"documents": 4, "characters": 73, "bytes": 73, "words": 20}
    assert [(row["name"], row["documents"], row["words"]) for row in analysis["sources"]] == [
        ("web", 3, 14),
        ("books", 1, 6),
    ]
    assert [(row["name"], row["documents"]) for row in analysis["domains"]["top"]] == [
        ("a.example", 2),
        ("none given", 1),
    ]
    assert analysis["domains"]["number"] == 3


def test_duplicates_are_counted_with_the_source_of_their_first_copy(analysis: dict[str, Any]) -> None:
    assert analysis["duplicates"] == {
        "documents": 2,
        "bytes": 44,
        "repeated_ids": 1,
        "by_source": [
            {"source": "web", "first_in": "web", "documents": 1},
            {"source": "books", "first_in": "web", "documents": 1},
        ],
    }


def test_frequent_ngrams(analysis: dict[str, Any]) -> None:
    assert analysis["ngrams"] == [
        {"n": 1, "total": 20, "exact": True, "top": [["the", 7], ["cat", 4]]},
        {"n": 3, "total": 12, "exact": True, "top": [["cat sat on", 3], ["on the mat", 3]]},
    ]


def test_languages_are_those_of_the_model(dolma: Any, write_documents: Any, tmp_path: Path) -> None:
    texts = ["This is plainly a text in English, and nobody doubts it.", "Dies ist ganz gewiss ein deutscher Satz."]
    rows = [{"id": str(k), "source": "s", "text": text} for k, text in enumerate(texts)]
    root = write_documents(rows)
    assert dolma("analyze", "--documents", root, "--output", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())["languages"]
    assert sorted(row["name"] for row in found) == ["de", "en"]


def test_the_number_of_processes_changes_nothing(dolma: Any, write_documents: Any, tmp_path: Path) -> None:
    write_documents(DOCUMENTS[:2])
    root = write_documents(DOCUMENTS[2:], "b.jsonl.gz")
    for processes in ("1", "2"):
        arguments = ["--output", str(tmp_path / processes), "--no-language", "--processes", processes]
        assert dolma("analyze", "--documents", root, *arguments) == 0
    for name in ("analysis.json", "analysis.html"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_text_of_the_corpus_shows_as_text(dolma: Any, write_documents: Any, tmp_path: Path) -> None:
    rows = [{"id": "1", "source": "<b>s</b>", "text": "<script>alert(1)</script> & more"}]
    root = write_documents(rows)
    assert dolma("analyze", "--documents", root, "--output", tmp_path / "out", "--no-language") == 0
    page = (tmp_path / "out" / "analysis.html").read_text()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "http" not in page


@pytest.mark.parametrize("option", [("--top", "0"), ("--ngrams", "0")])
def test_sizes_below_one_are_refused(
    dolma: Any, write_documents: Any, tmp_path: Path, option: tuple[str, str], capsys: Any
) -> None:
    root = write_documents(DOCUMENTS)
    assert dolma("analyze", "--documents", root, "--output", tmp_path / "out", *option) == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("https://www.example.org:80/a", "example.org"),
        ("example.org/a", "example.org"),
        ("plain name", "plain name"),
        (7, "7"),
        ("", "none given"),
        ("http://[broken/", "http://[broken/"),
    ],
)
def test_domains(value: object, domain: str) -> None:
    assert domain_of({"metadata": {"url": value}}, "metadata.url") == domain


def test_lengths_by_powers_of_two() -> None:
    import numpy as np

    described = describe_lengths(np.array([0, 1, 2, 3, 4, 8]))
    assert described["counts_by_power_of_two"] == [1, 1, 2, 1, 1]
    assert described["quantiles"]["0.5"] == 2
    assert described["quantiles"]["1"] == 8


words = st.lists(st.sampled_from(["a", "b", "c", "é"]), max_size=12).map(" ".join)


@given(st.lists(words, min_size=1, max_size=6), st.integers(1, 3))
def test_ngrams_are_counted_as_one_would_by_hand(texts: list[str], n: int) -> None:
    by_hand: Counter[str] = Counter()
    for text in texts:
        split = text.split()
        by_hand.update(" ".join(split[k : k + n]) for k in range(len(split) - n + 1))
    batch = Batch([{"text": text} for text in texts])
    counters = NgramCounters([n])
    counters.add(count_cells(batch, [n]))
    ((cells, left),) = counters.largest(1000)
    result = best(n, follow(batch, n, cells), left, 1000)
    assert result.exact
    assert dict(result.rows) == dict(by_hand)
    assert counters.totals == [sum(by_hand.values())]


def test_a_list_that_may_miss_equally_frequent_ngrams_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma_data.analysis.ngrams.CELLS_FOLLOWED", 1)
    batch = Batch([{"text": "a a a b b c c"}])
    counters = NgramCounters([1])
    counters.add(count_cells(batch, [1]))
    ((cells, left),) = counters.largest(1)
    assert best(1, follow(batch, 1, cells), left, 1).exact
    rare = Batch([{"text": "a b c"}])
    counters = NgramCounters([1])
    counters.add(count_cells(rare, [1]))
    ((cells, left),) = counters.largest(2)
    found = follow(rare, 1, cells)
    assert not best(1, dict(list(found.items())[:1]), left, 2).exact


def test_long_tables_of_the_page_unfold_and_small_sizes_have_their_unit():
    from dolma_data.analysis.page import groups, in_bytes

    rows = [{"name": f"s{n}", "documents": 1, "words": 1, "bytes": 1234} for n in range(23)]
    page = groups(rows, {"words": 23})
    before, _, behind = page.partition("<details><summary>3 more</summary>")
    assert (before.count("<tr><td>s"), behind.count("<tr><td>s")) == (20, 3)
    assert "1.2 kB" in page
    assert "<details>" not in groups(rows[:20], {"words": 23})
    assert in_bytes(100_000) == "0.1 MB"
