"""One HTML file that shows runs and every item of them. It loads nothing, and no text in it can do anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from . import published
from .charts import curve_figure, span
from .items import inert, shown_runs, task_blocks
from .report import PAIRED, Report, about, curve_cells, published_cells
from .table import IN_PERCENT, comparison_cells, metrics_cells

HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
FILTERS = (
    ("all", "all items"),
    ("right", "A right"),
    ("wrong", "A wrong"),
    ("tied", "A tied"),
    ("truncated", "cut to the model's length"),
    ("changed", "A and B earn differently"),
    ("gained", "B earns more than A"),
    ("lost", "B earns less than A"),
    ("other", "A and B choose differently"),
)
ORDERS = (
    ("order", "as in the task"),
    ("surest", "A surest first"),
    ("least", "A furthest from right first"),
    ("difference", "largest change from A to B first"),
)


def visible(text: str) -> str:
    """Escaped, with the characters shown by number that are drawn as nothing or turn the text around them."""
    return escape(HIDDEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text))


def page(found: Report) -> str:
    """The whole page."""
    style, script = (asset(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{fingerprint(style)}'; script-src '{fingerprint(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    blocks = task_blocks(found.runs)
    sections = [
        ("results", "Results", results(found)),
        ("comparison", "Comparison", comparison(found)),
        ("curves", "Learning curves", learning(found)),
        ("published", "Published figures", figures(found)),
        ("items", "Items", browser(found, bool(blocks))),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(f'<section id="{name}"><h2>{title}</h2>{content}</section>' for name, title, content in sections)
    names = ", ".join(run.name for run in found.runs)
    runs = "".join(
        f"<li><b><bdi>{visible(run.name)}</bdi></b> <span><bdi>{visible(about(run, escaped=False))}</bdi></span></li>"
        for run in found.runs
    )
    index = {"tasks": [name for name, _ in blocks], "runs": [run.name for run in found.runs]}
    data = "".join(
        f'<script type="application/json" id="items-{name}">{inert(value)}</script>\n'
        for name, value in [("index", index), *((str(k), block) for k, (_, block) in enumerate(blocks))]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>Evaluation: {visible(names[:120])}</title><style>{style}</style></head><body>"
        f'<div class="wrap"><h1>Evaluation</h1><ul class="runs">{runs}</ul></div>'
        f'<nav aria-label="Sections"><div class="wrap">{links}</div></nav><main class="wrap">{body}</main>\n'
        f"{data}<script>{script}</script></body></html>\n"
    )


def asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def fingerprint(content: str) -> str:
    """As a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    label: str,
    pictures: Mapping[int, str] | None = None,
) -> str:
    """A table that scrolls by itself; ``pictures`` of rows go behind its first ``left`` columns."""
    kinds = ["t long" if k < left else "" for k in range(len(columns))]
    head = [f'<th scope="col" class="{kind}">{visible(name)}</th>' for kind, name in zip(kinds, columns, strict=True)]
    body = []
    for place, row in enumerate(rows):
        cells = [f'<td class="{kinds[k]}"><bdi>{visible(cell.strip())}</bdi></td>' for k, cell in enumerate(row)]
        if pictures is not None:
            cells.insert(left, f'<td class="t">{pictures.get(place, "")}</td>')
        kind = "own" if row[0].startswith("> ") else "sub" if row[0].startswith(("  ", "mean of ")) else ""
        body.append(f'<tr class="{kind}">{"".join(cells)}</tr>')
    if pictures is not None:
        head.insert(left, '<th scope="col" class="t">0 to 100 %</th>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table><thead><tr>{"".join(head)}'
        f"</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def notes_below(notes: Sequence[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{visible(note)}</li>" for note in notes)}</ul>' if notes else ""


OPEN_RUNS = 3  # of more runs all tables but the last are folded
READING = (
    "95 % intervals; the dashed line is what guessing earns. p against chance is exact, against a baseline paired on "
    "the same items. Percent, bits per byte apart."
)


def results(found: Report) -> str:
    parts = [f"<p>{READING}</p>"]
    for run, metrics in zip(found.runs, found.metrics, strict=True):
        columns, rows, notes = metrics_cells(metrics)
        drawn = table(columns, rows, label=f"Results of {run.name}", pictures=spans(metrics)) + notes_below(notes)
        name = f"<bdi>{visible(run.name)}</bdi>"
        if len(found.runs) <= OPEN_RUNS:
            parts.append((f"<h3>{name}</h3>" if len(found.runs) > 1 else "") + drawn)
        else:
            parts.append(
                f"<details{' open' if run is found.runs[-1] else ''}><summary>{name}</summary>{drawn}</details>"
            )
    return "".join(parts)


def spans(metrics: Mapping[str, Any]) -> dict[int, str]:
    """The pictures beside the rows of a metrics table, by row."""
    drawn: list[str] = []
    for task in metrics["tasks"].values():
        primary = task["primary_metric"]
        chance = task["baselines"]["chance"]["value"] if primary.startswith(IN_PERCENT) else None
        for value in (task["metrics"][primary], task["macro"]):
            if value is not None:
                shown = primary.startswith(IN_PERCENT)
                drawn.append(span(value["value"], value["low"], value["high"], chance) if shown else "")
    suite = metrics["suite"]
    drawn += [] if suite is None else [span(suite["value"], suite["low"], suite["high"], None)]
    return dict(enumerate(drawn))


def comparison(found: Report) -> str:
    problems = notes_below([f"Not compared: {problem}" for problem in found.problems])
    if found.comparison is None:
        return problems
    columns, rows, notes = comparison_cells(found.comparison)
    names = [run["name"] for run in found.comparison["runs"]]
    several = len(names) > 2
    sides = "" if several else f"a: <bdi>{visible(names[0])}</bdi>, b: <bdi>{visible(names[1])}</bdi>. "
    return (
        f"<p>{sides}{PAIRED}</p>"
        + table(columns, rows, left=4 if several else 2, label="Comparison")
        + notes_below(notes)
        + problems
    )


def learning(found: Report) -> str:
    if not found.curves:
        return ""
    charts: dict[tuple[str, str], list[Any]] = {}
    for curve in found.curves:
        charts.setdefault((curve.task, curve.metric), []).append(curve)
    columns, rows = curve_cells(found.curves)
    return (
        "<p>Bits per byte and log_soft_score of the right answer move while accuracy still stands at chance. Bands are "
        "95 % intervals over items; the checkpoints of a run are scored on the same items.</p>"
        f'<div class="charts">{"".join(curve_figure(group) for group in charts.values())}</div>'
        f"<details><summary>as a table</summary>{table(columns, rows, left=3, label='Learning curves')}</details>"
    )


def figures(found: Report) -> str:
    tables = published_cells(found)
    if not tables:
        return ""
    drawn = "".join(table(columns, rows, label="Published figures") for columns, rows in tables)
    return f"{drawn}<p>{visible(published.SOURCE)}</p><p>{visible(published.CAVEAT)}</p>"


def browser(found: Report, items: bool) -> str:
    if not items:
        return ""
    left_out = len(found.runs) - len(shown_runs(found.runs))
    more = f" Of {len(found.runs)} runs the first and the last are shown." if left_out else ""

    def choose(name: str, label: str, options: Sequence[tuple[str, str]] = ()) -> str:
        inside = "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in options)
        return f'<label>{label}<select id="f-{name}">{inside}</select></label>'

    turns = "".join(
        f'<button type="button" data-turn="{turn}">{text}</button>'
        for turn, text in (("first", "First"), ("back", "Previous"), ("next", "Next"), ("last", "Last"))
    )
    return (
        f"<p>✓ marks the right choice, ◀ the chosen one. Keys: / searches, n and p turn the page.{more}</p>"
        '<noscript><p>Browsing items needs scripts.</p></noscript><div id="items-browser" hidden>'
        f'<form id="items-form" role="search">{choose("task", "Task")}{choose("a", "Run A")}{choose("b", "Run B")}'
        f"{choose('show', 'Show', FILTERS)}{choose('sort', 'Order', ORDERS)}"
        '<label class="wide">Search prompts, choices, ids'
        '<input type="search" id="f-find" autocomplete="off"></label></form>'
        f'<p id="items-note"></p><div class="bar"><output id="items-count" aria-live="polite"></output>{turns}</div>'
        f'<div id="items-list"></div><div class="bar"><output></output>{turns}</div></div>'
    )
