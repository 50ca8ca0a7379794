from __future__ import annotations

import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.analysis.attributes import cut_pieces, summarise
from dolma_data.analysis.histograms import Summary, Tally
from dolma_data.attributes import encode_row
from dolma_data.cli import execute


def write(root: Path, name: str, rows: list[dict[str, Any]], tree: str = "a.jsonl") -> Path:
    path = root / "attributes" / name / tree
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [encode_row({"id": str(k), "source": "s"}, attributes) for k, attributes in enumerate(rows)]
    path.write_bytes(b"".join(lines))
    return path


def test_scores_and_lengths_are_counted_in_equal_bins(tmp_path: Path) -> None:
    first = write(tmp_path, "x", [{"k": [(0, 4, 0.0), (2, 3, 10.0)]}, {}])
    second = write(tmp_path, "x", [{"k": []}, {"k": [(0, 2, 4.0)], "one": [(0, 1, 3.0)]}], "b.jsonl")
    assert [summary.row() for summary in summarise([first, second], 4)] == [
        {"name": "k/length", "counts": [1, 1, 1, 1], "bins": [0, 1, 2, 3, 4], "total": 4, "sum": 7},
        {"name": "k/score", "counts": [2, 1, 0, 1], "bins": [0, 2.5, 5, 7.5, 10], "total": 4, "sum": 14},
        {"name": "one/length", "counts": [1], "bins": [1, 1], "total": 1, "sum": 1},
        {"name": "one/score", "counts": [1], "bins": [3, 3], "total": 1, "sum": 3},
    ]


def test_probabilities_of_fasttext_labels_are_capped_at_one(tmp_path: Path) -> None:
    path = write(tmp_path, "x", [{"t____label__a": [(0, 1, 1.00001)], "other": [(0, 1, 1.00001)]}])
    sums = {summary.name: summary.sum for summary in summarise([path], 2)}
    assert sums["t____label__a/score"] == 1
    assert sums["other/score"] == 1.00001


numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(numbers, st.integers(1, 20), st.integers(1, 40))
def test_every_value_lies_in_one_bin(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], bins: int, batch: int
) -> None:
    folder = tmp_path_factory.mktemp("stat")
    path = write(folder, "x", [{"k": [(0, 1, value)]} for value in values])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dolma_data.analysis.attributes.BATCH_VALUES", batch)
        summary = next(summary for summary in summarise([path], bins) if summary.name == "k/score")
    assert sum(summary.counts) == summary.total == len(values)
    assert len(summary.bins) == len(summary.counts) + 1
    assert (summary.bins[0], summary.bins[-1]) == (min(values), max(values))
    assert summary.sum == pytest.approx(sum(values), abs=1e-6)
    for k, count in enumerate(summary.counts):
        last = k == len(summary.counts) - 1
        low, high = summary.bins[k], summary.bins[k + 1]
        assert count == sum(low <= value < high or (last and value == high) for value in values)


def test_one_large_file_is_shared_by_workers_and_gives_the_same_numbers(
    dolma, tmp_path, contents, monkeypatch, read_jsonl
):
    monkeypatch.setattr("dolma_data.analysis.attributes.SMALL_FILE_BYTES", 0)
    monkeypatch.setattr("dolma_data.analysis.attributes.PIECE_BYTES", 1000)
    rows = [{"id": str(k), "attributes": {"k": [[0, k, k / 7]]}, "source": "s"} for k in range(300)]
    path = tmp_path / "attributes/x/a.jsonl.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
    assert len(list(cut_pieces([path]))) > 10
    found = []
    for processes in ("1", "2", "3"):
        report = tmp_path / processes
        assert dolma("stat", "--attributes", path.parent, "--report", report, "--processes", processes) == 0
        found.append(contents(report))
    assert found[0] == found[1] == found[2]
    length, score = read_jsonl(tmp_path / "1/summaries.jsonl.gz")
    assert (length["total"], length["sum"]) == (300, 300 * 299 / 2)
    assert score["sum"] == pytest.approx(300 * 299 / 14)
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows) + b"cut"))
    assert dolma("stat", "--attributes", path.parent, "--processes", "2") == 2


@given(
    st.lists(st.integers(-(1 << 21), 1 << 21) | st.floats(-1e9, 1e9), min_size=1, max_size=60),
    st.integers(1, 30),
    st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9, 0.95]),
    st.integers(0, 40),
)
def test_quantiles_are_those_of_all_values(values: list[float], part: int, share: float, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dolma_data.analysis.histograms.LEAST_PENDING", most)
        total = Tally()
        for start in range(0, len(values), part):
            tally = Tally()
            tally.add(np.array(values[start : start + part], dtype=np.float64))
            total.merge(tally)
        found = total.quantile(share)
    right = float(np.quantile(np.array(values, dtype=np.float64), share, method="inverted_cdf"))
    assert (
        found == right
        if right == int(right) and abs(right) <= 1 << 21
        else abs(found - right) <= 1e-6 * abs(right) + 1e-300
    )


def test_quantiles_do_not_depend_on_the_bins(tmp_path: Path) -> None:
    lengths = [*range(100, 120), 10**6]  # one value makes a bin as wide as all the others together
    path = write(tmp_path, "x", [{"k": [(0, length, 1.0)]} for length in lengths])
    summary = next(summary for summary in summarise([path], 10) if summary.name == "k/length")
    assert [summary.percentile(share) for share in (0.05, 0.5, 0.95, 1.0)] == [101, 110, 119, 10**6]


def test_stat_writes_summaries_and_prints_a_table(
    tmp_path: Path, read_jsonl: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "x", [{"k": [(0, 4, 0.25)]}, {"k": [(0, 2, 0.75)]}])
    folders = ["--attributes", str(tmp_path / "attributes/x"), "--report", str(tmp_path / "report")]
    arguments = ["stat", *folders, "--bins", "2"]
    assert execute(arguments) == 0
    rows = read_jsonl(tmp_path / "report/summaries.jsonl.gz")
    assert rows[1] == {"name": "k/score", "counts": [1, 1], "bins": [0.25, 0.5, 0.75], "total": 2, "sum": 1.0}
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["attribute", "values", "mean", "least", "10%", "50%", "90%", "most"]
    assert table[2].split() == ["k/score", "2", "0.5", "0.25", "0.25", "0.25", "0.75", "0.75"]
    before = (tmp_path / "report/summaries.jsonl.gz").read_bytes()
    assert execute([*arguments, "--processes", "2"]) == 0
    assert (tmp_path / "report/summaries.jsonl.gz").read_bytes() == before
    assert len(list((tmp_path / "report/provenance").iterdir())) == 2


@pytest.mark.parametrize(
    ("rows", "options", "what"),
    [([{}], (), "hold no key at all"), ([{"k": []}], ("--bins", "0"), "bins is 0")],
)
def test_mistakes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Any], options: tuple[str, ...], what: str
) -> None:
    write(tmp_path, "x", rows)
    folders = ("--attributes", str(tmp_path / "attributes/x"), "--report", str(tmp_path / "report"))
    assert execute(["stat", *folders, *options]) == 2
    assert what in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_row_that_is_nested_too_deep_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "x", [{}, {}])
    good, _ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(good + good[:-2] + b',"more":' + b"[" * 5000 + b"]" * 5000 + b"}\n")
    assert execute(["stat", "--attributes", str(path.parent)]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "not a row of attributes" in message
    assert "line 2" in message


def test_a_folder_without_attributes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["stat", "--attributes", str(tmp_path), "--report", str(tmp_path / "r")]) == 2
    assert "no attribute files here" in capsys.readouterr().err


def test_only_keys_that_are_asked_for_and_their_sums(dolma, tmp_path, capsys):
    write(tmp_path, "x", [{"key": [(0, 4, 1.0)], "other": [(0, 2, 3.0)]}, {"key": [(0, 4, 2.5)]}])
    folder = tmp_path / "attributes/x"
    assert dolma("stat", "--attributes", folder, "--regex", "^k", "--total") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("attribute", "values", "sum"),
        ("key/length", "2", "8"),
        ("key/score", "2", "3.5"),
    ]
    for wrong in ("none", "("):
        assert dolma("stat", "--attributes", folder, "--regex", wrong) == 2
        assert "Traceback" not in capsys.readouterr().err


class Page(HTMLParser):
    """Elements of a page, the texts of its headings and of its table, and the heights and titles of its bars."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: dict[str, list[str]] = {"h2": [], "td": [], "title": []}
        self.heights: list[float] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag
        if tag in self.texts:
            self.texts[tag].append("")
        if tag == "rect":
            self.heights.append(float(dict(attrs)["height"] or "nan"))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside][-1] += data


def test_the_page_shows_quantiles_and_a_histogram_of_every_key(dolma, tmp_path, read_jsonl):
    write(tmp_path, "x", [{"k": [(0, 4, value)]} for value in (0.0, 0.1, 0.2, 1.0)] + [{"one": [(0, 1, 20_000.0)]}])
    options = ("--attributes", tmp_path / "attributes/x", "--report", tmp_path / "report")
    assert dolma("stat", *options, "--bins", "4") == 0
    page = Page((tmp_path / "report/index.html").read_text())
    assert page.texts["h2"] == ["k", "one"]
    cells = [page.texts["td"][start : start + 10] for start in range(0, len(page.texts["td"]), 10)]
    assert cells[1] == ["score", "4", "0.325", "0", "0", "0", "0.1", "0.2", "1", "1"]
    assert cells[3] == ["score", "1", "20,000", "20,000", *["20,000"] * 5, "20,000"]
    assert page.texts["title"] == [
        "Attributes",
        "4 to 4: 4 values",
        "0 to 0.25: 3 values",
        "0.25 to 0.5: 0 values",
        "0.5 to 0.75: 0 values",
        "0.75 to 1: 1 values",
        "1 to 1: 1 values",
        "20,000 to 20,000: 1 values",
    ]
    assert page.heights == [160, 160, 0, 0, 53.3, 160, 160]
    record = next((tmp_path / "report/provenance").iterdir()).read_text()
    assert "report/index.html" in record


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=130).filter(any))
def test_bars_hold_all_values_of_their_bins(counts: list[int]) -> None:
    summary = Summary("k/score", counts, [float(k) for k in range(len(counts) + 1)], sum(counts), 1.0, 0.0, 1.0)
    bars = summary.bars()
    assert len(bars) <= 50
    assert sum(bar.width for bar in bars) == len(counts)
    at = 0
    for bar in bars:
        assert bar.count == sum(counts[at : at + bar.width])
        at += bar.width


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "</title></style><b>",
    "a&amp;b",
    "name",
    "name/length",
    "n" * 300,
    "\u202elive",
    "{style}",
    "",
)


def test_names_of_keys_are_text_and_never_markup(dolma, tmp_path):
    write(tmp_path, "x", [{name: [(0, 4, 1.0), (0, 3, 1e308)]} for name in HOSTILE])
    options = ("--attributes", tmp_path / "attributes/x", "--report", tmp_path / "report")
    assert dolma("stat", *options) == 0
    text = (tmp_path / "report/index.html").read_text()
    page = Page(text)
    assert sorted(page.texts["h2"]) == sorted(["''", *HOSTILE[:-1]])
    assert page.texts["td"][::10] == ["length", "score"] * len(HOSTILE)
    table = {"table", "tr", "th", "td"}
    shell = {"html", "head", "meta", "title", "style", "body"}
    assert page.tags == shell | table | {"h1", "h2", "p", "div", "svg", "rect", "text"}
    assert not re.search(r"(src|href|url)\s*[=(]", text.replace("&lt;img src=x", ""))
