from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from stored import answered, instance, write_predictions

from catwalk_eval.compare import compare
from catwalk_eval.config import CompareConfig
from catwalk_eval.errors import UserError
from catwalk_eval.files import digest, digest_file, read_json, write_json
from catwalk_eval.predictions import ROWS, compute_metrics, write_rows
from catwalk_eval.suites import Member, spread_of_sum, units
from catwalk_eval.table import comparison_table, metrics_table

BOTH, ONLY_A, ONLY_B, NONE = [(True, True)], [(True, False)], [(False, True)], [(False, False)]
PAIRS = BOTH * 20 + ONLY_A * 12 + ONLY_B * 2 + NONE * 16


def two(tmp_path: Path, pairs: list[tuple[bool, bool]], **others: list[str]) -> list[Path]:
    return [
        write_predictions(tmp_path / name, {"quiz": answers([pair[side] for pair in pairs], **others)}, name=name)
        for side, name in enumerate("ab")
    ]


def answers(rights: list[bool], **others: list[str]) -> list[dict[str, object]]:
    """The right choice is the first; a wrong answer chooses the second."""
    return [
        row
        for doc_id, right in enumerate(rights)
        for row in instance(
            doc_id, 0, (-1.0, -9.0) if right else (-9.0, -1.0), **{key: value[doc_id] for key, value in others.items()}
        )
    ]


def test_two_runs_are_compared_pair_by_pair(tmp_path: Path) -> None:
    result = compare(two(tmp_path, PAIRS), CompareConfig())
    (row,) = result["rows"]
    assert [run["name"] for run in result["runs"]] == ["a", "b"]
    assert (row["a"], row["b"], row["difference"]) == (0.64, 0.44, 0.2)
    assert row["p_value"] == pytest.approx(binomtest(2, 14).pvalue, rel=1e-9)  # McNemar: 12 against 2
    assert row["low"] < row["difference"] < row["high"]
    assert (row["interval"], row["test"], row["clusters"]) == ("bonett-price", "sign flip, exact", None)
    assert result["suites"] == []


def test_clusters_widen_the_interval_and_turn_together(tmp_path: Path) -> None:
    alone = compare(two(tmp_path / "x", PAIRS), CompareConfig())["rows"][0]
    clusters = [str(k // 5) for k in range(len(PAIRS))]
    shared = compare(two(tmp_path / "y", PAIRS, cluster=clusters), CompareConfig())["rows"][0]
    assert shared["clusters"] == 10
    assert shared["difference"] == alone["difference"]
    assert shared["interval"] == "bonett-price, clustered"
    assert shared["high"] - shared["low"] > alone["high"] - alone["low"]
    assert shared["p_value"] > alone["p_value"]


def test_many_runs_are_adjusted_for_pairs_and_tasks(tmp_path: Path) -> None:
    runs = []
    for number, share in enumerate((40, 30, 20)):
        tasks = {
            "quiz": answers([k < share for k in range(50)]),
            "other": answers([k % 50 < share - 5 for k in range(60)]),
        }
        runs.append(write_predictions(tmp_path / f"r{number}", tasks, name=f"m{number}"))
    result = compare(runs, CompareConfig())
    assert [(row["run_a"], row["run_b"], row["task"]) for row in result["rows"]] == [
        (a, b, task) for a, b in ((0, 1), (0, 2), (1, 2)) for task in ("quiz", "other")
    ]
    smallest = min(result["rows"], key=lambda row: row["p_value"])
    assert smallest["p_value_holm"] == pytest.approx(min(1.0, 6 * smallest["p_value"]))
    assert [(suite["run_a"], suite["run_b"]) for suite in result["suites"]] == [(0, 1), (0, 2), (1, 2)]
    suite = result["suites"][0]
    assert suite["difference"] == pytest.approx((10 / 50 + 10 / 60) / 2, abs=0.01)
    assert suite["low"] < suite["difference"] < suite["high"]
    first = compare(runs, CompareConfig(pairs="first"))
    assert [(row["run_a"], row["run_b"]) for row in first["rows"]] == [(1, 0), (1, 0), (2, 0), (2, 0)]
    table = comparison_table(result)
    assert "m0" in table.splitlines()[0]
    assert "mean over tasks" in table


def test_means_over_domains_are_compared_with_an_interval_of_their_own(tmp_path: Path) -> None:
    domains = ["a"] * 40 + ["b"] * 10
    a, b = [True] * 30 + [False] * 20, [True] * 20 + [False] * 30
    runs = [
        write_predictions(tmp_path / name, {"quiz": answers(rights, domain=domains, cluster=domains)}, name=name)
        for name, rights in (("x", a), ("y", b))
    ]
    (row,) = compare(runs, CompareConfig())["rows"]
    assert (row["difference"], row["low"]) == (0.2, None)  # two clusters say nothing of a third
    macro = row["macro"]
    assert (macro["domains"], macro["a"], macro["b"]) == (2, 0.375, 0.25)
    assert macro["difference"] == pytest.approx(0.125)
    assert macro["standard_error"] == pytest.approx((0.25 * 0.75 / 39) ** 0.5 / 2)  # in b nothing differs
    assert macro["low"] < 0.125 < macro["high"]
    assert "mean of 2 domains" in comparison_table(compare(runs, CompareConfig()))


def test_runs_that_agree_on_every_item_have_intervals_with_width(tmp_path: Path) -> None:
    rights = [k % 3 > 0 for k in range(40)]
    tasks = {"quiz": answers(rights, domain=["x", "y"] * 20), "other": answers(rights[:20])}
    result = compare([write_predictions(tmp_path / name, tasks, name=name) for name in "ab"], CompareConfig())
    (suite,) = result["suites"]
    assert suite["low"] == -suite["high"] == pytest.approx(-1.959964 * 2**0.5 / (2 * 22))
    assert (suite["difference"], suite["standard_error"], suite["p_value"]) == (0.0, 0.0, 1.0)
    macro = result["rows"][0]["macro"]
    assert macro["low"] == -macro["high"] == pytest.approx(-1.959964 * 2**0.5 / (2 * 22))
    assert (macro["difference"], macro["p_value"]) == (0.0, 1.0)


def test_tasks_on_the_same_questions_are_not_independent_in_the_mean_over_tasks(tmp_path: Path) -> None:
    a, b = [True] * 60 + [False] * 20, [True] * 40 + [False] * 40
    errors = {}
    for place, digests in (("one", "ss"), ("two", "st")):
        runs = []
        for name, rights in (("a", a), ("b", b)):
            root = write_predictions(tmp_path / place / name, dict.fromkeys("xy", answers(rights)), name=name)
            for task, digest_ in zip("xy", digests, strict=True):
                about = read_json(root / task / "task.json") | {"source_digest": digest_}
                write_json(root / task / "task.json", about)
            runs.append(root)
        result = compare(runs, CompareConfig())
        errors[place] = result["suites"][0]["standard_error"]
        assert result["suites"][0]["difference"] == 0.25
    assert errors["one"] == pytest.approx((0.25 * 0.75 / 79) ** 0.5)  # the second task says nothing new
    assert errors["one"] == pytest.approx(2**0.5 * errors["two"])


def test_records_are_joined_across_tasks_by_their_clusters() -> None:
    parts = np.array([1.0, 1.0, 0.0, 0.0])
    plain = Member("s", parts, np.arange(4), None)
    paired = Member("s", parts, np.arange(4), np.array([0, 0, 1, 1]))
    assert [unit.tolist() for unit in units([plain, plain])] == [[0, 1, 2, 3]] * 2
    assert [unit.tolist() for unit in units([plain, paired])] == [[0, 0, 1, 1]] * 2
    later = Member("s", parts, np.arange(2, 6), np.array([0, 1, 1, 2]))
    assert [unit.tolist() for unit in units([paired, later])] == [[0, 0, 1, 1], [1, 1, 1, 2]]
    assert spread_of_sum([plain, plain]).variance == pytest.approx(4 * spread_of_sum([plain]).variance)


def test_runs_of_one_model_are_told_apart(tmp_path: Path) -> None:
    rows = {"quiz": answers([True] * 20)}
    runs = [write_predictions(tmp_path / name, rows, name="same") for name in "ab"]
    assert [run["name"] for run in compare(runs, CompareConfig())["runs"]] == [f"same ({run})" for run in runs]


@pytest.mark.parametrize("metric", ["bits_per_byte", "soft_score", "log_soft_score", "probability_mass"])
def test_means_are_compared_by_paired_t(tmp_path: Path, metric: str) -> None:
    (row,) = compare(two(tmp_path, PAIRS), CompareConfig(metric=metric))["rows"]  # type: ignore[arg-type]
    assert (row["interval"], row["test"]) == ("student-t", "paired t")
    assert row["p_value"] is not None


def test_other_items_are_no_pairs(tmp_path: Path) -> None:
    a = write_predictions(tmp_path / "a", {"quiz": answers([True] * 20)})
    short = write_predictions(tmp_path / "b", {"quiz": answers([True] * 19)})
    none = write_predictions(tmp_path / "c", {"another": answers([True] * 20)})
    with pytest.raises(UserError, match="other instances"):
        compare([a, short], CompareConfig())
    with pytest.raises(UserError, match="no task in common"):
        compare([a, none], CompareConfig())
    with pytest.raises(UserError, match="no f1"):
        compare([a, a], CompareConfig(metric="f1"))


def told(root: Path, **about: object) -> None:
    path = root / "quiz" / "task.json"
    write_json(path, read_json(path) | about)


def test_other_examples_are_no_pairs(tmp_path: Path) -> None:
    runs = two(tmp_path, PAIRS)
    source = {"from": "seed", "file": "train.jsonl.gz", "digest": "sha256:1", "seed": 1}
    for run, seed in zip(runs, (1, 2), strict=True):
        told(run, shots=5, shots_source=source | {"seed": seed})
    with pytest.raises(UserError, match="other examples"):
        compare(runs, CompareConfig())
    told(runs[1], shots_source=source | {"file": "copy.jsonl.gz"})
    assert compare(runs, CompareConfig())["rows"]


def test_another_boundary_or_longest_input_is_said(tmp_path: Path) -> None:
    runs = two(tmp_path, PAIRS)
    assert compare(runs, CompareConfig())["notes"] == []
    told(runs[1], boundary="joint")
    write_json(runs[1] / "manifest.json", read_json(runs[1] / "manifest.json") | {"maximum_length": 64})
    result = compare(runs, CompareConfig())
    assert result["notes"] == ["quiz: the boundary is separate in a, joint in b"]  # no input was cut
    assert comparison_table(result).splitlines()[-1] == result["notes"][0]
    cut = answers([pair[1] for pair in PAIRS], truncated=[k == 3 for k in range(len(PAIRS))])
    write_rows(runs[1] / "quiz" / ROWS, cut)
    assert compare(runs, CompareConfig())["notes"][1].startswith("quiz: the longest input is 128 tokens in a, 64 in b")


def test_few_pairs_have_no_interval_and_the_table_says_why(tmp_path: Path) -> None:
    result = compare(two(tmp_path, ONLY_A * 9), CompareConfig())
    (row,) = result["rows"]
    assert (row["low"], row["high"], row["p_value"]) == (None, None, 2 / 2**9)
    assert "quiz: no interval (9 instances, 10 needed)" in comparison_table(result)


def test_a_comparison_in_a_file_has_its_record_beside_it(tmp_path: Path) -> None:
    runs = two(tmp_path, PAIRS)
    output = tmp_path / "comparisons" / "c.json"
    compare(runs, CompareConfig())
    assert not output.parent.exists()
    result = compare(runs, CompareConfig(output=output))
    assert read_json(output) == result
    (file,) = (output.parent / "provenance").iterdir()
    record = read_json(file)
    assert (record["command"], record["counts"]) == ("compare", {"comparisons": 1})
    assert record["inputs"] == {str(run): digest(run) for run in runs}
    assert record["outputs"] == {str(output): digest_file(output)}


def test_rows_of_the_first_version_have_their_bare_lengths_derived(tmp_path: Path) -> None:
    rows = answered([k % 3 > 0 for k in range(30)])
    new = compute_metrics(write_predictions(tmp_path / "new", {"quiz": rows}))
    old = [{key: value for key, value in row.items() if "bare" not in key and key != "cluster"} for row in rows]
    assert compute_metrics(write_predictions(tmp_path / "old", {"quiz": old}, version=1)) == new


def test_the_table_of_a_run_says_why_there_is_no_interval(tmp_path: Path) -> None:
    tasks = {
        "long": answered([k % 3 > 0 for k in range(30)], domain=["a", "b"] * 15),
        "short": answered([True, False, True]),
    }
    lines = metrics_table(compute_metrics(write_predictions(tmp_path / "p", tasks))).splitlines()
    assert lines[0].split()[:6] == ["task", "dialect", "n", "metric", "value", "95%"]
    assert lines[2].split()[:6] == ["long", "olmo-inloop", "30", "acc_raw", "66.7", "48.8-80.8"]
    assert lines[3].split()[:5] == ["mean", "of", "2", "domains", "acc_raw"]
    assert lines[4].split()[:6] == ["short", "olmo-inloop", "3", "acc_raw", "66.7", "-"]
    assert lines[5].split()[:5] == ["mean", "of", "2", "tasks", "66.7"]
    assert lines[6] == "short: no interval (3 instances, 10 needed)"
