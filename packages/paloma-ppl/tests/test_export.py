import gzip
import json
import math
import shutil
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


def frame(path: Path) -> list[dict[str, Any]]:
    """Rows with the columns of all rows, as ``pandas.read_json(path, lines=True)`` has them."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


def test_a_notebook_joins_models_domains_and_tokens(
    model_folder: Path, suite_folder: Path, tokenizer_file: Path, tmp_path: Path, read_rows: Callable[..., Any],
    write_rows: Callable[..., Any], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Two checkpoints of a run in one set of tables: perplexity by domain over revisions, and the types of a domain."""
    for step in ("step1", "step2"):
        shutil.copytree(model_folder, tmp_path / "run" / step)
        config = RunConfig(
            model=str(tmp_path / "run"), revision=step, suite=suite_folder, output=tmp_path / step, device="cpu"
        )
        evaluate(config)
    line = ["export", str(tmp_path / "step1"), str(tmp_path / "step2"), "--output", str(tmp_path / "T")]
    assert run(app, [*line, "--tokenizer", str(tokenizer_file)]) == 0

    metrics = frame(tmp_path / "T" / "ppl_metrics.jsonl.gz")
    by_model = {(row["model"], row["model_kwargs"]["revision"], row["task"]): row for row in metrics}
    assert by_model.keys() == {
        ("run", step, f"ppl_{source}") for step in ("step1", "step2") for source in ("docs", "code")
    }
    assert {row["full_model"] for row in metrics} == {"lm::pretrained=run"}
    assert {row["model_max_length"] for row in metrics} == {24}
    index = {
        "model",
        "revision",
        "model_kwargs",
        "full_model",
        "split",
        "task",
        "num_instances",
        "limit",
        "model_max_length",
    }
    for source in ("docs", "code"):
        wide = frame(tmp_path / "T" / f"ppl_token_ppl_{source}_subdomains.jsonl.gz")
        domains = [name for name in wide[0] if name not in index]
        assert sorted(domains) == ["a", "b", "c"]
        melted = [(row["revision"], domain, row[domain]) for row in wide for domain in domains]
        assert len(melted) == 6
        assert all(value > 1 for _, _, value in melted)
        tokens = frame(tmp_path / "T" / f"ppl_{source}_token_count_avg_logits.jsonl.gz")
        for revision, domain, value in melted:
            rows = [row for row in tokens if (row["revision"], row["subdomain"]) == (revision, f"{source}__{domain}")]
            total = sum(row["count"] for row in rows)
            loss = -sum(row["count"] * row["avg_logits"] for row in rows) / total
            assert math.exp(loss) == pytest.approx(value, rel=1e-6)
            means = [row["avg_logits"] for row in rows]
            assert means == sorted(means)  # as the pipeline writes them

    manifest = tmp_path / "step1" / "manifest.json"
    described = json.loads(manifest.read_text())
    for name, revision in (("EleutherAI/pythia-160m", None), ("allenai/OLMo-7B/main", "main"), ("run/step1", None)):
        model = described["model"] | {"name": name, "revision": revision}
        manifest.write_text(json.dumps(described | {"model": {k: v for k, v in model.items() if v is not None}}))
        assert run(app, [*line[:2], *line[3:], "--tokenizer", str(tokenizer_file)]) == 0
        row = frame(tmp_path / "T" / "ppl_metrics.jsonl.gz")[0]
        expected = {"EleutherAI/pythia-160m": ("EleutherAI/pythia-160m", None), "run/step1": ("run", "step1")}
        assert (row["model"], row["revision"]) == expected.get(name, ("allenai/OLMo-7B", "main"))
        assert row["model_kwargs"] == ({} if row["revision"] is None else {"revision": row["revision"]})

    documents = tmp_path / "step1" / "documents.jsonl.gz"
    write_rows(documents, [row | {"domain": "split"} for row in read_rows(documents)])
    assert run(app, [*line, "--tokenizer", str(tokenizer_file)]) == 2
    assert "domain 'split' of code is called as a column" in capsys.readouterr().err
