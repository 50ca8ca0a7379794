"""Plain text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns aligned: the first ``left`` to the left, the others to the right."""
    widths = [max(len(row[k]) for row in [columns, *rows]) for k in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), line(["-" * width for width in widths]), *(line(row) for row in rows)])


def percent(value: float) -> str:
    """A share in percent with one decimal."""
    return f"{100 * value:.1f}"


def p_value(value: float | None) -> str:
    """A p value with two digits."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}"


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """The table that ``run`` and ``rescore`` print from metrics.json; accuracies in percent."""
    rows = []
    for name, task in metrics["tasks"].items():
        primary = task["metrics"][task["primary_metric"]]
        bits = task["metrics"]["bits_per_byte"]["value"]
        cells = [name, task["dialect"], str(task["instances"]), task["primary_metric"], percent(primary["value"])]
        cells += [f"{percent(primary['low'])}-{percent(primary['high'])}"]
        cells += [percent(task["baselines"]["chance"]["value"]), p_value(task["chance_p_value"])]
        cells += [percent(task["baselines"]["majority"]["value"])]
        for baseline in ("longest", "unigram"):
            found = task["baselines"].get(baseline)
            cells += ["-", "-"] if found is None else [f"{100 * found['difference']:+.1f}", p_value(found["p_value"])]
        rows.append([*cells, f"{bits:.3f}"])
    columns = ["task", "dialect", "n", "metric", "value", "95%", "chance", "p", "majority"]
    columns += ["vs longest", "p", "vs unigram", "p", "bits/byte"]
    return render(columns, rows)


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """The table that ``compare`` prints; accuracies and their differences in percent."""
    rows = []
    for row in comparison["rows"]:
        scale, digits = (1, 3) if row["metric"] == "bits_per_byte" else (100, 1)
        cells = [row["task"], row["metric"], str(row["instances"])]
        cells += [f"{scale * row[side]:.{digits}f}" for side in ("a", "b")]
        cells += [
            "-" if row[key] is None else f"{scale * row[key]:+.{digits}f}" for key in ("difference", "low", "high")
        ]
        cells += [p_value(row["p_value"]), p_value(row["p_value_holm"])]
        detectable = row["detectable_difference"]
        rows.append([*cells, "-" if detectable is None else f"{scale * detectable:.{digits}f}"])
    columns = ["task", "metric", "n", "a", "b", "a - b", "low", "high", "p", "p Holm", "detectable"]
    return render(columns, rows)


def tasks_table() -> str:
    """The table that ``tasks`` prints: tasks, and the primary metric in each dialect."""
    from .prompts import DIALECTS
    from .tasks import TASKS

    names = list(DIALECTS)
    rows = [[task.name, *(task.wordings[name].primary_metric for name in names), task.about] for task in TASKS.values()]
    origins = [f"{dialect.name}: {dialect.origin}" for dialect in DIALECTS.values()]
    return "\n".join([render(["task", *names, "about"], rows, left=len(names) + 2), "", *origins])
