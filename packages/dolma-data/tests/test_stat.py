from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.analysis.attributes import Summary, summarise
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


def test_percentiles_are_lower_edges_of_bins() -> None:
    summary = Summary("k", [90, 0, 10], [0.0, 1.0, 2.0, 3.0], 100, 20.0, 0.0, 3.0)
    assert [summary.percentile(share) for share in (0.1, 0.5, 0.9, 0.95)] == [0, 0, 0, 2]


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
    assert table[2].split() == ["k/score", "2", "0.5", "0.25", "0.25", "0.25", "0.5", "0.75"]
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
