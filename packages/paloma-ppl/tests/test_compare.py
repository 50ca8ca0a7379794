import json
import math
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.compare import compare
from paloma_ppl.config import CompareConfig
from paloma_ppl.errors import UserError
from paloma_ppl.metrics import DocumentScore
from paloma_ppl.results import Description, write_results
from paloma_ppl.statistics import holm
from paloma_ppl.table import comparison_table


def results(folder: Path, bits: list[float], **changes: Any) -> Path:
    """Documents of 100 bytes in domains a (first twelve) and b."""
    values = {"method": "model", "model": {"name": folder.name, "digest": "sha256:" + "0" * 64}, "suite": "s",
              "suite_digest": "sha256:" + "1" * 64, "split": "test", "format": "paloma", "maximum_length": 8,
              "tokenizer_digest": None, "dtype": "float32", "limit": None, "vocab_size": 9}  # fmt: skip
    scores = [
        DocumentScore(str(n), "s", "a" if n < 12 else "b", 10, 100, 100, 20, -math.log(2) * value)
        for n, value in enumerate(bits)
    ]
    write_results(folder, Description(**{**values, **changes}), scores, None, 0.95)
    return folder


BITS = [100.0 + 10 * (n % 5) for n in range(16)]


def test_difference_is_paired_by_document(tmp_path: Path) -> None:
    a = results(tmp_path / "a", [value + 10 + 0.1 * (n % 3) for n, value in enumerate(BITS)])
    b = results(tmp_path / "b", BITS)
    found = compare([a, b], CompareConfig(output=tmp_path / "c.json"))
    assert json.loads((tmp_path / "c.json").read_text()) == found
    names = [(row["level"], row["source"], row["domain"], row["documents"]) for row in found["comparisons"][0]["rows"]]
    assert names == [
        ("domain", "s", "a", 12),
        ("domain", "s", "b", 4),
        ("source", "s", None, 16),
        ("aggregate", None, "micro", 16),
        ("aggregate", None, "macro", 16),
    ]
    first, small, source, micro, _ = found["comparisons"][0]["rows"]
    assert first["a"] == pytest.approx(1.28, abs=0.05)
    assert first["difference"] == pytest.approx(0.101)
    # documents differ by 10 to 40 bits, their differences by 0.2: pairing makes the interval narrow
    assert 0.1 < first["low"] < 0.101 < first["high"] < 0.102
    assert (small["low"], small["interval"]) == (None, "none: 4 documents, at least 10 are needed")
    unlike = dict.fromkeys(("level", "source", "domain", "p_holm"))
    assert {**source, **unlike} == {**micro, **unlike}
    assert micro["p_holm"] == 2 * source["p_holm"]  # the one source, and two aggregates
    table = comparison_table(found)
    assert table.splitlines()[3].split()[:3] == ["s", "(all)", "16"]
    assert table.count("*") == 4


def test_the_same_results_differ_by_nothing(tmp_path: Path) -> None:
    a = results(tmp_path / "a", BITS)
    for row in compare([a, a], CompareConfig(output=tmp_path / "c.json"))["comparisons"][0]["rows"]:
        assert row["difference"] == 0
        assert (row["low"], row["high"]) in [(0, 0), (None, None)]


@pytest.mark.parametrize("change", [{"suite_digest": "sha256:" + "2" * 64}, {"split": "val"}, {"limit": 5}])
def test_other_suite_split_or_limit_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    a, b = results(tmp_path / "a", BITS), results(tmp_path / "b", BITS, **change)
    with pytest.raises(UserError, match=f"{next(iter(change))} differs"):
        compare([a, b], CompareConfig(output=tmp_path / "c.json"))
    assert not (tmp_path / "c.json").exists()


def test_another_format_is_refused_between_models_and_not_with_a_baseline(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", BITS), results(tmp_path / "b", BITS, format="training")
    baseline = results(tmp_path / "u", BITS, method="unigram", model=None, maximum_length=None, dtype="float64")
    config = CompareConfig(output=tmp_path / "c.json")
    with pytest.raises(UserError, match=r"format differs: paloma and training.*a, .*b"):
        compare([baseline, a, b], config)
    assert not (tmp_path / "c.json").exists()
    assert compare([b, baseline], config)["results"] == [
        {"name": "b", "format": "training", "maximum_length": 8, "dtype": "float32"},
        {"name": "unigram", "format": "paloma", "maximum_length": None, "dtype": "float64"},
    ]


def test_other_windows_and_types_of_weights_are_warned_of_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = results(tmp_path / "a", BITS, limit=16)
    b = results(tmp_path / "b", BITS, limit=16, maximum_length=4, dtype="bfloat16")
    baseline = results(tmp_path / "u", BITS, limit=16, method="unigram", model=None, maximum_length=None)
    config = CompareConfig(output=tmp_path / "c.json")
    compare([a, baseline], config)
    assert not caplog.records
    found = compare([a, b], config)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "maximum_length differs between the models: 8, 4",
        "dtype differs between the models: float32, bfloat16",
    ]
    assert found["limit"] == 16
    lines = comparison_table(found).splitlines()
    assert lines[0] == "LIMITED to 16 documents of the split, chosen by hash"
    assert lines[-2:] == [
        "a: format paloma, windows of 8 tokens, float32", "b: format paloma, windows of 4 tokens, bfloat16"
    ]  # fmt: skip


def test_other_documents_are_refused(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", BITS), results(tmp_path / "b", BITS[:-1])
    with pytest.raises(UserError, match="16 and 15 documents"):
        compare([a, b], CompareConfig(output=tmp_path / "c.json"))


def test_many_domains_without_a_difference_are_not_starred(tmp_path: Path) -> None:
    a = results(tmp_path / "a", [value + 10 + 0.1 * (n % 3) for n, value in enumerate(BITS)])
    rows = compare([a, results(tmp_path / "b", BITS)], CompareConfig(output=tmp_path / "c.json"))["comparisons"][0][
        "rows"
    ]
    assert rows[0]["p"] == rows[0]["p_holm"] < 0.01  # one domain has enough documents: nothing to adjust for
    assert rows[1]["p"] is None
    assert "p_holm" not in rows[1]
    assert rows[2]["p"] == rows[2]["p_holm"]  # the one source


def test_log_perplexity_needs_one_vocabulary(tmp_path: Path) -> None:
    one, other = "sha256:" + "3" * 64, "sha256:" + "4" * 64
    a = results(tmp_path / "a", [value + 10 for value in BITS], tokenizer_digest=one)
    b = results(tmp_path / "b", BITS, tokenizer_digest=one)
    config = CompareConfig(output=tmp_path / "c.json", metric="log_perplexity")
    found = compare([a, b], config)
    assert found["metric"] == "log_perplexity"
    assert found["comparisons"][0]["rows"][0]["difference"] == pytest.approx(math.log(2))  # ten bits on ten tokens
    for digest in (other, None):
        c = results(tmp_path / f"c{digest}", BITS, tokenizer_digest=digest)
        with pytest.raises(UserError, match="tokenizers differ"):
            compare([a, c], config)


def test_many_are_compared_with_the_first_and_adjusted_for_all_tests(tmp_path: Path) -> None:
    paths = [results(tmp_path / "a", BITS)]
    for name, change in (("b", 3.0), ("c", 0.0), ("d", -2.0)):
        bits = [value + change + (n % 3 - 1) * 4 for n, value in enumerate(BITS)]
        paths.append(results(tmp_path / name, bits))
    found = compare(paths, CompareConfig(output=tmp_path / "c.json"))
    assert json.loads((tmp_path / "c.json").read_text()) == found
    assert found["models"] == ["a", "b", "c", "d"]
    assert [(each["a"], each["b"]) for each in found["comparisons"]] == [("a", "b"), ("a", "c"), ("a", "d")]
    alone = [compare([paths[0], path], CompareConfig(output=tmp_path / "d.json")) for path in paths[1:]]
    tests: dict[str, list[dict[str, Any]]] = {"domain": [], "source": [], "aggregate": []}
    for each, pair in zip(found["comparisons"], (one["comparisons"][0] for one in alone), strict=True):
        for row, other in zip(each["rows"], pair["rows"], strict=True):
            assert {**row, "p_holm": None} == {**other, "p_holm": None}
        for row in each["rows"]:
            if "p_holm" in row:
                tests[row["level"]].append(row)
    for rows in tests.values():
        assert [row["p_holm"] for row in rows] == holm([row["p"] for row in rows])
    assert {level: len(rows) for level, rows in tests.items()} == {"domain": 3, "source": 3, "aggregate": 6}
    table = comparison_table(found).splitlines()
    assert table[0] == "bits per byte, a = a, and a minus each other one"
    assert table[1].split("  ")[-1].strip() == "a - d"
    assert len(table) == 2 + 1 + 5 + 3 + 1
    assert table[-1] == "format paloma, windows of 8 tokens, float32"

    pairs = compare(paths, CompareConfig(output=tmp_path / "c.json", pairs="all"))["comparisons"]
    assert [each["a"] + each["b"] for each in pairs] == ["ab", "ac", "ad", "bc", "bd", "cd"]
    text = comparison_table(compare(paths, CompareConfig(output=tmp_path / "c.json", pairs="all")))
    assert "a = c, b = d" in text
    assert max(len(line) for line in text.splitlines()) < 100


def test_one_unlike_result_among_many_is_refused(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", BITS), results(tmp_path / "b", BITS)
    other = results(tmp_path / "c", BITS, suite_digest="sha256:" + "2" * 64)
    with pytest.raises(UserError, match=r"suite_digest differs.*a, .*c"):
        compare([a, b, other], CompareConfig(output=tmp_path / "c.json"))
    with pytest.raises(UserError, match="1 results cannot be compared"):
        compare([a], CompareConfig(output=tmp_path / "c.json"))
    tokens = results(tmp_path / "d", BITS, tokenizer_digest="sha256:" + "3" * 64)
    with pytest.raises(UserError, match="tokenizers differ"):
        compare([tokens, tokens, a], CompareConfig(output=tmp_path / "c.json", metric="log_perplexity"))
    assert not (tmp_path / "c.json").exists()


def test_models_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    model = {"name": "m", "digest": "sha256:" + "0" * 64}
    paths = [results(tmp_path / name, BITS, model=model) for name in ("x", "y")]
    assert compare(paths, CompareConfig(output=tmp_path / "c.json"))["models"] == [f"m ({path})" for path in paths]


def test_published_aggregates_are_compared_too(tmp_path: Path) -> None:
    about: dict[str, Any] = {"suite": "s", "suite_digest": "sha256:" + "1" * 64, "split": "test", "format": "paloma"}
    about |= {"maximum_length": 8, "tokenizer_digest": None, "dtype": "float32", "limit": None, "vocab_size": 9}
    for name, factor in (("a", 1.0), ("b", 2.0)):
        scores = [
            DocumentScore(
                f"{source}{n}", source, source, 10, 100, 100, 20, -math.log(2) * factor * value * (10 + n % 3)
            )
            for source, value in (("c4_en", 1.0), ("ptb", 3.0), ("gab", 9.0))
            for n in range(12)
        ]
        model = {"name": name, "digest": "sha256:" + "0" * 64}
        write_results(tmp_path / name, Description(method="model", model=model, **about), scores, None, 0.95)
    found = compare([tmp_path / "a", tmp_path / "b"], CompareConfig(output=tmp_path / "c.json"))
    rows = {row["domain"]: row for row in found["comparisons"][0]["rows"] if row["level"] == "aggregate"}
    assert list(rows) == ["micro", "macro", "paloma_micro", "paloma_macro"]
    assert rows["macro"]["a"] == pytest.approx((1 + 3 + 9) * 0.11 / 3)
    for name in ("paloma_micro", "paloma_macro"):  # without gab
        assert rows[name]["documents"] == 24
        assert [rows[name][key] for key in ("a", "b", "difference")] == pytest.approx([0.22, 0.44, -0.22])
        assert rows[name]["low"] < rows[name]["difference"] < rows[name]["high"]
