"""Command line of catwalk-eval. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .command_line import make_app, run
from .config import (
    CompareConfig,
    ExportConfig,
    FetchConfig,
    MakeClozeConfig,
    ReportConfig,
    RequestsConfig,
    RunConfig,
)

app = make_app("catwalk-eval", "catwalk-eval", "Downstream evaluation by rank classification with correct statistics.")

Flat = Parameter(name="*")


def print_plan(command: str, config: Any) -> None:
    """The resolved plan as YAML, for ``--dry-run``."""
    import yaml

    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    print(yaml.safe_dump({"command": command, **settings}, sort_keys=False), end="")


@app.command(name="make-cloze")
def make_cloze_command(config: Annotated[MakeClozeConfig, Flat]) -> None:
    """Cut a multiple-choice cloze task from held-out documents."""
    if config.dry_run:
        return print_plan("make-cloze", config)
    from .cloze import make_cloze

    make_cloze(config)
    return None


@app.command(name="fetch")
def fetch_command(*tasks: str, config: Annotated[FetchConfig, Flat]) -> None:
    """Fetch the records of built-in tasks from the Hugging Face hub; with --download, and never otherwise.

    Parameters
    ----------
    tasks
        Names of tasks.
    """
    if config.dry_run:
        return print_plan("fetch", config)
    from .fetch import fetch

    fetch(tasks, config)
    return None


@app.command(name="requests")
def requests_command(config: Annotated[RequestsConfig, Flat]) -> None:
    """Write the scoring requests of tasks, as text and as token ids."""
    if config.dry_run:
        return print_plan("requests", config)
    from .requests import write_requests

    write_requests(config)
    return None


@app.command(name="run")
def run_command(config: Annotated[RunConfig, Flat]) -> None:
    """Score tasks with a model; write predictions and metrics, print a table."""
    if config.dry_run:
        return print_plan("run", config)
    from .runner import run as run_tasks
    from .table import metrics_table

    metrics = run_tasks(config)
    if metrics is not None:
        print(metrics_table(metrics))
    return None


@app.command(name="rescore")
def rescore_command(predictions: Path, /) -> None:
    """Recompute metrics.json from stored predictions, without the model.

    Parameters
    ----------
    predictions
        Folder that `catwalk-eval run` wrote.
    """
    from .predictions import rescore
    from .table import metrics_table

    print(metrics_table(rescore(predictions)))


@app.command(name="compare")
def compare_command(*runs: Path, config: Annotated[CompareConfig | None, Flat] = None) -> None:
    """Compare runs on the same items, task by task: difference a - b, interval, exact p value, Holm.

    Parameters
    ----------
    runs
        Two or more folders that `catwalk-eval run` wrote.
    """
    from .compare import compare
    from .table import comparison_table

    print(comparison_table(compare(runs, config or CompareConfig())))


@app.command(name="report")
def report_command(*runs: Path, config: Annotated[ReportConfig | None, Flat] = None) -> None:
    """Show runs: scores, comparison, learning curves over checkpoints, published figures; as a page with every item.

    Parameters
    ----------
    runs
        Folders that `catwalk-eval run` wrote, or folders of such folders.
    """
    from .report import report

    print(report(runs, config or ReportConfig()))


@app.command(name="export")
def export_command(run_folder: Path, /, config: Annotated[ExportConfig, Flat]) -> None:
    """Write a run in lm-evaluation-harness's layout: results_TIME.json and samples_TASK_TIME.jsonl.

    Parameters
    ----------
    run_folder
        Folder that `catwalk-eval run` wrote.
    """
    from .lm_eval_layout import export

    export(run_folder, config)


@app.command(name="flips")
def flips_command(a: Path, b: Path, /) -> None:
    """Count the predictions that differ between two runs of one model: in two dtypes, say, or batch sizes.

    Parameters
    ----------
    a
        Folder that `catwalk-eval run` wrote.
    b
        Another one, of the same tasks.
    """
    from .precision import flips, flips_table

    print(flips_table(flips(a, b)))


@app.command(name="tasks")
def tasks_command() -> None:
    """List the built-in tasks with the scoring that each dialect reports."""
    from .table import tasks_table

    print(tasks_table())


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(app))
