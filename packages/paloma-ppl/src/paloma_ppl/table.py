"""Results as plain text for the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# characters that are drawn as nothing, turn the text around them or steer a terminal
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
WIDEST = 60  # characters of a cell


def plain(text: str) -> str:
    """Text with its hidden characters shown by number."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


def cell_of(text: str) -> str:
    """Text as one line of at most ``WIDEST`` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"


def render(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """Columns as wide as their widest cell; the first ``text_columns`` are aligned left, the others right."""
    shown = [[cell_of(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[column]) for line in shown) for column in range(len(header))]
    lines = []
    for line in shown:
        cells = [
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def perplexity(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if value < 1e7 else f"{value:.3g}"


def bounds(low: float | None, high: float | None, form: str) -> str:
    return "-" if low is None or high is None else f"[{low:{form}}, {high:{form}}]"


def limit_line(limit: int | None) -> str:
    """What stands above a table of results of a part of the suite; nothing where they are of all of it."""
    return "" if limit is None else f"LIMITED to {limit:,} documents of the split, chosen by hash\n"


def how_made(settings: Mapping[str, Any]) -> str:
    """Format, window length and dtype in words."""
    length = settings["maximum_length"]
    windows = [] if length is None else [f"windows of {length} tokens"]
    return ", ".join([f"format {settings['format']}", *windows, settings["dtype"]])


def settings_lines(results: Sequence[Mapping[str, Any]]) -> str:
    """How results were made: a line for each, or one where they are alike."""
    made = [how_made(result) for result in results]
    if len(set(made)) == 1:
        return made[0]
    return "\n".join(f"{cell_of(result['name'])}: {text}" for result, text in zip(results, made, strict=True))


def level_of(confidence: float | None) -> str:
    """``95% interval``; of files that do not say their level, ``interval``."""
    return "interval" if confidence is None else f"{round(100 * confidence, 6):g}% interval"


def results_table(results: dict[str, Any], limit: int | None) -> str:
    """Sources, each followed by its domains, then the aggregates."""
    interval = level_of(results.get("confidence"))
    header = ["source", "domain", "documents", "tokens", "perplexity", "bits per byte", interval]

    def line(source: str, domain: str, row: dict[str, Any]) -> list[str]:
        interval = bounds(row["bits_per_byte_low"], row["bits_per_byte_high"], ".4f")
        counts = [f"{row['documents']:,}", f"{row['tokens']:,}", perplexity(row["perplexity"])]
        return [source, domain, *counts, f"{row['bits_per_byte']:.4f}", interval]

    rows = []
    for source in results["sources"]:
        rows.append(line(source["source"], "(all)", source))
        rows += [line("", row["domain"], row) for row in results["domains"] if row["source"] == source["source"]]
    rows += [line(f"({row['name']})", "", row) for row in results["aggregates"]]
    table = limit_line(limit) + render(header, rows, text_columns=2)
    return f"{table}\n\n{positions_table(results['positions'])}" if results.get("positions") else table


def positions_table(positions: Sequence[dict[str, Any]]) -> str:
    """Loss by position over all sources."""
    header = ["position in the window", "tokens", "nats per token", "in whole windows", "nats per token"]
    rows = [
        [
            str(row["first"]) if row["first"] == row["last"] else f"{row['first']} to {row['last']}",
            f"{row['tokens']:,}",
            f"{row['loss']:.4f}",
            f"{row['whole_tokens']:,}",
            number(row["whole_loss"], ".4f"),
        ]
        for row in positions
        if row["source"] is None
    ]
    return render(header, rows, text_columns=1)


SHOWN_DIFFERENCES = 6  # beside each other in the terminal


def comparison_table(comparison: dict[str, Any]) -> str:
    """``difference_tables`` with what was left out above them and how the results were made below."""
    tables = difference_tables(comparison)
    return f"{limit_line(comparison['limit'])}{tables}\n{settings_lines(comparison['results'])}"


def difference_tables(comparison: dict[str, Any]) -> str:
    """Differences; a star marks a p-value below the level, adjusted for all tests of domains, sources or
    aggregates (Holm).

    Of two results both values and the interval are shown, of more the first one's values and the differences to it, of
    all pairs a table a pair without domains.
    """
    found = comparison["comparisons"]
    metric = comparison["metric"].replace("_", " ")
    if len(found) == 1:
        tables = [pair_table(found[0], comparison["confidence"], domains=True)]
    elif len(found) <= SHOWN_DIFFERENCES and len({each["a"] for each in found}) == 1:
        head = f"{metric}, a = {found[0]['a']}, and a minus each other one"
        table = differences_table(found, comparison["confidence"])
        return "\n".join([head, table, *(f"{each['b']}: {each['training_order']}" for each in found)])
    else:
        tables = [pair_table(each, comparison["confidence"], domains=False) for each in found]
        tables.append("domains are in the file: a table of them all would be too wide")
    return "\n\n".join(f"{metric}, {text}" if k < len(found) else text for k, text in enumerate(tables))


def star(row: dict[str, Any], confidence: float) -> str:
    p = row.get("p_holm")
    return "*" if p is not None and p < 1 - confidence else ""


def by_source(rows: Sequence[dict[str, Any]]) -> list[tuple[list[str], int]]:
    """Names and index of each row: sources, each before its domains, then aggregates."""
    found: dict[str | None, list[tuple[list[str], int]]] = {}
    for index, row in enumerate(rows):
        name = {"domain": ["", row["domain"]], "source": [row["source"], "(all)"]}.get(
            row["level"], [f"({row['domain']})", ""]
        )
        lines = found.setdefault(row["source"], [])
        lines.insert(0 if row["level"] == "source" else len(lines), (name, index))
    return [line for lines in found.values() for line in lines]


def pair_table(comparison: dict[str, Any], confidence: float, *, domains: bool) -> str:
    header = ["source", "domain", "documents", comparison["a"], comparison["b"], "difference"]
    rows = [row for row in comparison["rows"] if domains or row["level"] != "domain"]
    lines = []
    for name, index in by_source(rows):
        row = rows[index]
        values = [f"{row['documents']:,}", f"{row['a']:.4f}", f"{row['b']:.4f}", f"{row['difference']:+.4f}"]
        lines.append([*name, *values, bounds(row["low"], row["high"], "+.4f"), star(row, confidence)])
    table = render([*header, level_of(confidence), ""], lines, text_columns=2)
    return f"a = {comparison['a']}, b = {comparison['b']}\n{table}\n{comparison['training_order']}"


def differences_table(comparisons: Sequence[dict[str, Any]], confidence: float) -> str:
    header = ["source", "domain", "documents", comparisons[0]["a"], *(f"a - {each['b']}" for each in comparisons)]
    lines = []
    for name, index in by_source(comparisons[0]["rows"]):
        rows = [each["rows"][index] for each in comparisons]
        differences = [f"{row['difference']:+.4f}{star(row, confidence) or ' '}" for row in rows]
        lines.append([*name, f"{rows[0]['documents']:,}", f"{rows[0]['a']:.4f}", *differences])
    return render(header, lines, text_columns=2)


SHOWN_POINTS = 6  # of a curve in the terminal


def short(value: float) -> str:
    """``1.5M``, ``20k``, ``0.3``."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def curves_table(curves: dict[str, Any]) -> str:
    """Bits per byte along the curve and the improvement rate: aggregates, sources, then domains by their rate."""
    places = [result["at"] for result in curves["results"]]
    count = min(len(places), SHOWN_POINTS)
    shown = [round(k * (len(places) - 1) / (count - 1)) for k in range(count)]
    interval = level_of(curves["confidence"])
    header = ["source", "domain", "documents", *(short(places[index]) for index in shown), "rate", interval]
    rows = []
    for row in by_rate(curves["rows"]):
        name = {"aggregate": [f"({row['domain']})", ""], "source": [row["source"], "(all)"]}.get(
            row["level"], [row["source"], row["domain"]]
        )
        values = [number(row["bits_per_byte"][index], ".4f") for index in shown]
        rate = [number(row["rate"], "+.4f"), bounds(row["rate_low"], row["rate_high"], "+.4f")]
        rows.append([*name, f"{row['documents']:,}", *values, *rate])
    left_out = "" if count == len(places) else f" ({len(places) - count} of {len(places)} points are not shown)"
    over = curves["over"]
    title = f"bits per byte over {over}{left_out}; rate: fall of the logarithm of the loss while {over} grow tenfold"
    ends = f"from {short(curves['rate_from'])} to {short(curves['rate_to'])}"
    table = render(header, rows, text_columns=2)
    return f"{limit_line(curves['limit'])}{title}, {ends}\n{table}\n{settings_lines(curves['results'])}"


def by_rate(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Aggregates, sources, then domains from the largest improvement on; what has no rate comes last."""

    def place(row: dict[str, Any]) -> tuple[int, float]:
        if row["level"] != "domain":
            return ("aggregate", "source").index(row["level"]), 0.0
        return 2, math.inf if row["rate"] is None else -row["rate"]

    return sorted(rows, key=place)


def contamination_table(report: dict[str, Any]) -> str:
    """Found and listed units per evaluation source, then the first findings by file and line."""
    header = ["evaluation source", "paragraphs found", "of", "held-out documents found", "of", "occurrences"]
    names = ("paragraphs_found", "paragraphs", "held_out_documents_found", "held_out_documents", "occurrences")
    rows = [[row["source"], *(f"{row[name]:,}" for name in names)] for row in report["sources"]]
    lines = [render(header, rows, text_columns=1)]
    for found in report["first"]:
        text = found["text"] if len(found["text"]) <= 60 else found["text"][:57] + "..."
        lines.append(f"{found['file']}, line {found['line']}: {found['kind']} of {found['evaluation_source']}: {text}")
    read, dirty = report["documents_read"], report["documents_contaminated"]
    lines.append(f"{dirty:,} of {read:,} training documents hold evaluation material")
    return "\n".join(lines)
