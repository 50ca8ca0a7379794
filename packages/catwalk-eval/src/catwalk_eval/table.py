"""Plain text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task

IN_PERCENT = ("acc", "f1", "soft_score", "probability_mass")


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


def number(metric: str, value: float | None, *, sign: bool = False, more: int = 0) -> str:
    """A value of ``metric`` or a difference of two: percent with one decimal, else three decimals."""
    if value is None:
        return "-"
    percent = metric.startswith(IN_PERCENT)
    digits = (1 if percent else 3) + more
    rounded = round(100 * value if percent else value, digits) + 0.0  # no minus before a zero
    return format(rounded, f"{'+' if sign and rounded else ''}.{digits}f")


def interval(metric: str, estimate: Mapping[str, Any]) -> str:
    """``low-high``, or a dash where there is none."""
    if estimate["low"] is None:
        return "-"
    between = "-" if metric.startswith(IN_PERCENT) else " to "
    return f"{number(metric, estimate['low'])}{between}{number(metric, estimate['high'])}"


def p_value(value: float | None) -> str:
    """A p value with two digits."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}"


Cells = tuple[list[str], list[list[str]], list[str]]  # columns, rows, notes below


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """The table that ``run``, ``rescore`` and ``report`` print from metrics.json; shares in percent."""
    columns, rows, notes = metrics_cells(metrics)
    return "\n".join([render(columns, rows), *notes])


def metrics_cells(metrics: Mapping[str, Any]) -> Cells:
    """A row a task, its mean over domains below it, the mean over tasks last; why intervals are missing as notes."""
    tasks = metrics["tasks"]
    clusters = any(task["clusters"] is not None for task in tasks.values())
    beside = [name for name in ("longest", "unigram") if any(name in task["baselines"] for task in tasks.values())]
    columns = ["task", "dialect", "n", *(["clusters"] if clusters else []), "metric", "value", "95%", "se"]
    columns += ["chance", "p", "majority"]
    for name in beside:
        columns += [f"vs {name}", "p"]
    rows: list[list[str]] = []
    reasons: dict[str, None] = {}

    def add(name: str, dialect: str, n: str, groups: str, metric: str, estimate: Mapping[str, Any]) -> list[str]:
        row = [name, dialect, n, *([groups] if clusters else []), metric, number(metric, estimate["value"])]
        row += [interval(metric, estimate), number(metric, estimate["standard_error"], more=1)]
        rows.append(row)
        if estimate["low"] is None:
            reasons[f"{name}: no interval ({estimate['method'].removeprefix('none: ')})"] = None
        return row

    for name, task in tasks.items():
        metric, known = task["primary_metric"], task["baselines"]
        shared = "-" if task["clusters"] is None else str(task["clusters"])
        row = add(name, task["dialect"], str(task["instances"]), shared, metric, task["metrics"][metric])
        guesses = [known[name]["value"] if metric.startswith(IN_PERCENT) else None for name in ("chance", "majority")]
        chance, commonest = (number(metric, guess) for guess in guesses)
        row += [chance, p_value(task["chance_p_value"]), commonest]
        for other in beside:
            found = known.get(other)
            row += (
                ["-", "-"]
                if found is None
                else [number(metric, found["difference"], sign=True), p_value(found["p_value"])]
            )
        row.append(number("bits_per_byte", task["metrics"]["bits_per_byte"]["value"]))
        if task["macro"] is not None:
            add(f"  mean of {len(task['macro']['domains'])} domains", "", "", "", metric, task["macro"])
    suite = metrics["suite"]
    if suite is not None:
        add(f"mean of {len(suite['tasks'])} tasks", "", "", "", "acc", suite)
        rows[-1][3 + clusters] = ""
    columns.append("bits/byte")
    return columns, [row + [""] * (len(columns) - len(row)) for row in rows], list(reasons)


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """The table that ``compare`` prints; shares and their differences in percent."""
    names = [run["name"] for run in comparison["runs"]]
    columns, rows, notes = comparison_cells(comparison)
    if len(names) > 2:
        return "\n\n".join([runs_table(comparison), "\n".join([render(columns, rows, left=4), *notes])])
    return "\n".join([f"a: {names[0]}", f"b: {names[1]}", "", render(columns, rows, left=2), *notes])


def comparison_cells(comparison: Mapping[str, Any]) -> Cells:
    """A row a comparison; as notes why intervals are missing, and settings that differ."""
    names = [run["name"] for run in comparison["runs"]]
    several = len(names) > 2
    rows = []
    reasons: dict[str, None] = {}
    for row in [*comparison["rows"], *comparison["suites"]]:
        metric = row.get("metric", "acc")
        name = row.get("task", f"mean of {len(row.get('tasks', ()))} tasks")
        cells = [names[row["run_a"]], names[row["run_b"]]] if several else []
        cells += [name, row.get("metric", ""), str(row.get("instances", ""))]
        cells += [number(metric, row[side]) for side in ("a", "b")]
        cells += [number(metric, row[key], sign=True) for key in ("difference", "low", "high")]
        cells += [p_value(row["p_value"]), p_value(row["p_value_holm"])]
        rows.append([*cells, number(metric, row["detectable_difference"])])
        macro = row.get("macro")
        if macro is not None:
            cells = [names[row["run_a"]], names[row["run_b"]]] if several else []
            cells += [f"  mean of {macro['domains']} domains", metric, ""]
            cells += [number(metric, macro[side]) for side in ("a", "b")]
            cells += [number(metric, macro[key], sign=True) for key in ("difference", "low", "high")]
            rows.append([*cells, p_value(macro["p_value"]), "", ""])
        if row["low"] is None:
            reasons[f"{name}: no interval ({row['interval'].removeprefix('none: ')})"] = None
    columns = [*(["run a", "run b"] if several else []), "task", "metric", "n", "a", "b", "a - b", "low", "high"]
    columns += ["p", "p Holm", "detectable"]
    return columns, rows, [*reasons, *comparison["notes"]]


def runs_table(comparison: Mapping[str, Any]) -> str:
    """Values of many runs: a row a task, a column a run."""
    names = [run["name"] for run in comparison["runs"]]
    values: dict[tuple[str, str], dict[int, str]] = {}
    for row in [*comparison["rows"], *comparison["suites"]]:
        metric = row.get("metric", "acc")
        key = row.get("task", "mean over tasks"), row.get("metric", "")
        for side in ("a", "b"):
            values.setdefault(key, {})[row[f"run_{side}"]] = number(metric, row[side])
    rows = [[*key, *(found.get(number, "-") for number in range(len(names)))] for key, found in values.items()]
    return render(["task", "metric", *names], rows, left=2)


def tasks_table() -> str:
    """The table that ``tasks`` prints: tasks, and the primary metric in each dialect (its split, if it is test)."""
    from .prompts import DIALECTS
    from .tasks import TASKS

    names = list(DIALECTS)

    def cell(task: Task, name: str) -> str:
        wording = task.wordings.get(name)
        if wording is None:
            return "-"
        return wording.primary_metric + ("" if wording.split == "validation" else f" ({wording.split})")

    rows = [
        [", ".join((task.name, *task.aliases)), *(cell(task, name) for name in names), task.about]
        for task in TASKS.values()
    ]
    origins = [f"{dialect.name}: {dialect.origin}" for dialect in DIALECTS.values()]
    return "\n".join([render(["task", *names, "about"], rows, left=len(names) + 2), "", *origins])
