import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.cli import app
from paloma_ppl.command_line import run
from paloma_ppl.config import RunConfig
from paloma_ppl.evaluate import evaluate


def test_tables_have_the_layout_of_the_pipeline(
    model_folder: Path, suite_folder: Path, tokenizer_file: Path, tmp_path: Path, read_rows: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    evaluate(RunConfig(model=str(model_folder), suite=suite_folder, output=tmp_path / "P", device="cpu"))
    line = ["export", str(tmp_path / "P"), "--output", str(tmp_path / "T"), "--tokenizer", str(tokenizer_file)]
    for _ in range(2):  # what it wrote before is replaced
        assert run(app, line) == 0
    twins = [f"{name}_ppl_docs_subdomains" for name in ("ppl_token", "ppl_char", "ppl_word", "ppl_byte")]
    names = {file.name.removesuffix(".jsonl.gz") for file in (tmp_path / "T").glob("*.jsonl.gz")}
    assert {*twins, "bits_per_byte_ppl_docs_subdomains", "ppl_metrics", "ppl_docs_token_count_avg_logits"} <= names

    documents = [row for row in read_rows(tmp_path / "P" / "documents.jsonl.gz") if row["source"] == "docs"]
    total = sum(row["log_probability"] for row in documents)
    (metrics,) = (row for row in read_rows(tmp_path / "T" / "ppl_metrics.jsonl.gz") if row["task"] == "ppl_docs")
    assert metrics["model"] == "model-0"
    assert metrics["num_instances"] == len(documents)
    for name, field in (("ppl_token", "tokens"), ("ppl_char", "characters"), ("ppl_word", "words")):
        assert metrics[name] == pytest.approx(
            math.exp(min(69, -total / sum(row[field] for row in documents))), rel=1e-6
        )
    (subdomains,) = read_rows(tmp_path / "T" / "bits_per_byte_ppl_docs_subdomains.jsonl.gz")
    of_a = [row for row in documents if row["domain"] == "a"]
    bits = -sum(row["log_probability"] for row in of_a) / math.log(2) / sum(row["bytes"] for row in of_a)
    assert subdomains["a"] == pytest.approx(bits)
    tokens = read_rows(tmp_path / "T" / "ppl_docs_token_count_avg_logits.jsonl.gz")
    assert {row["subdomain"] for row in tokens} == {f"docs__{row['domain']}" for row in documents}
    assert sum(row["count"] for row in tokens) == sum(row["tokens"] for row in documents)
    assert sum(row["count"] * row["avg_logits"] for row in tokens) == pytest.approx(total)

    capsys.readouterr()
    (tmp_path / "other").mkdir()
    assert run(app, [*line[:3], str(tmp_path / "other"), *line[4:]]) == 2
    assert "holds no such tables" in capsys.readouterr().err
