"""Run folders: configuration, metrics, the ledger of the data order, the newest checkpoint."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from artifact_checks.reading import load, rows
from artifact_checks.report import Options, Report

LOGGED = (
    "train/CrossEntropyLoss",
    "optim/learning_rate",
    "optim/total_grad_norm",
    "throughput/tokens_per_second",
    "throughput/total_tokens",
)
NAME = re.compile(
    r"(train|optim|throughput|System|system|schedule)/.+|eval/perplexity/.+/(CrossEntropyLoss|bits_per_byte)|eval/downstream/.+_.+"
)


def check_run(folder: Path, report: Report, options: Options) -> str:
    """Check ``RUN/``; its checkpoints are artifacts of their own."""
    path = folder / "manifest.json"
    manifest = load(path, "run", report)
    config = check_config(folder / "config.yaml", report)
    steps = check_metrics(folder / "metrics.jsonl", report)
    check_ledger(folder / "data_order.jsonl", manifest, report, began=not config.get("load_trainer_state"))
    check_page(folder / "report.html", report)
    checkpoints = sorted(int(place.name[4:]) for place in folder.glob("step*") if re.fullmatch(r"step\d+", place.name))
    check_latest(folder / "latest", folder, checkpoints, report)
    for step in checkpoints:
        check_kin(folder, step, manifest, report)
    return f"{steps:,} rows of metrics, {len(checkpoints)} checkpoints"


def check_page(path: Path, report: Report) -> None:
    """report.html, where there is one, is whole and loads nothing."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if not (text.startswith("<!doctype html>") and text.endswith("</html>\n")):
        report.problem(path, "not a whole page")
    if re.search(r"<(script|iframe)|(src|href)=.?(https?:)?//|url\(", text):
        report.problem(path, "loads something: the page has everything in it")


def check_kin(folder: Path, step: int, manifest: Any, report: Report) -> None:
    """A checkpoint of this run: its step, its tokenizer, its size."""
    path = folder / f"step{step}" / "manifest.json"
    checkpoint = load(path, "checkpoint", Report(quiet=True))
    if checkpoint is None:
        return  # reported with the checkpoint itself
    report.equal(path, "step", checkpoint["step"], step)
    if manifest is not None:
        for name in ("parameters", "tokenizer_digest"):
            report.equal(path, name, checkpoint[name], manifest[name])


def check_config(path: Path, report: Report) -> dict[str, Any]:
    """config.yaml is a mapping; returns it."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
        report.problem(path, "not a mapping of keys to values")
    except FileNotFoundError:
        report.problem(path, "missing")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        report.problem(path, f"not valid YAML: {error}", None if mark is None else mark.line + 1)
    return {}


def check_metrics(path: Path, report: Report) -> int:
    """Steps rise strictly; a logged row has the names that every reader counts on. Returns the number of rows."""
    count = 0
    step = -1
    for number, row in rows(path, "metrics_row", report):
        count += 1
        if row["step"] <= step:
            report.problem(path, f"step {row['step']} after step {step}: steps rise strictly", number)
        step = max(step, row["step"])
        logged = [name for name in LOGGED if name in row]
        evaluated = any(name.startswith("eval/") for name in row)
        if len(logged) < len(LOGGED) and (logged or not evaluated):
            report.problem(path, f"without {', '.join(name for name in LOGGED if name not in row)}", number)
        for name, value in row.items():
            if name in ("step", "time"):
                continue
            if not NAME.fullmatch(name):
                report.problem(path, f"{name} is no name of a metric", number)
            if not math.isfinite(value):
                report.problem(path, f"{name} is {value}", number)
    return count


def check_ledger(path: Path, manifest: Any, report: Report, *, began: bool) -> None:
    """Rows of data_order.jsonl follow one another; a row replaces all before it from its first step on. A run that
    ``began`` by itself begins at step 1."""
    in_force: list[Any] = []
    for number, row in rows(path, "data_order", report):
        if manifest is not None:
            report.equal(path, "tokens_fingerprint", row["tokens_fingerprint"], manifest["tokens_fingerprint"], number)
        if row["first_instance"] >= row["instances"]:
            report.problem(path, f"first_instance {row['first_instance']} of {row['instances']} instances", number)
        if began and not in_force and row["first_step"] != 1:
            report.problem(path, f"the first row begins at step {row['first_step']}, not at step 1", number)
        in_force = [old for old in in_force if old["first_step"] <= row["first_step"]]
        if in_force:
            check_continuation(path, number, row, in_force[-1], report)
        in_force = [old for old in in_force if old["first_step"] < row["first_step"]] + [row]
    if not in_force and path.is_file():
        report.problem(path, "empty: a run writes a row at its start")


def check_continuation(path: Path, number: int, row: Any, before: Any, report: Report) -> None:
    """Within one order a row goes on where the row in force has come to: no instance is read twice or passed over."""
    if row["mixture"] is not None or before["mixture"] is not None:
        return
    if any(row[name] != before[name] for name in ("seed", "instances", "sequence_length", "tokens_fingerprint")):
        return
    steps = row["first_step"] - before["first_step"]
    reached = before["first_instance"] + steps * before["batch_size"]
    if row["epoch"] == before["epoch"]:
        report.equal(path, "first_instance", row["first_instance"], reached, number)
    elif row["epoch"] == before["epoch"] + 1:
        report.equal(path, "first_instance", row["first_instance"], 0, number)
        if reached + row["batch_size"] <= before["instances"]:
            report.problem(
                path, f"epoch {row['epoch']} begins, but {before['epoch']} has only come to {reached}", number
            )
    else:
        report.problem(path, f"epoch {row['epoch']} after epoch {before['epoch']}", number)


def check_latest(path: Path, folder: Path, checkpoints: list[int], report: Report) -> None:
    """``latest`` names the newest complete checkpoint."""
    complete = [step for step in checkpoints if (folder / f"step{step}" / "manifest.json").is_file()]
    if not path.is_file():
        if complete:
            report.problem(path, f"missing, though there is step{complete[-1]}")
        return
    name = path.read_text(encoding="utf-8").strip()
    if not complete or name != f"step{complete[-1]}":
        newest = f"step{complete[-1]}" if complete else "none"
        report.problem(path, f"names {name!r}, but the newest complete checkpoint is {newest}")
