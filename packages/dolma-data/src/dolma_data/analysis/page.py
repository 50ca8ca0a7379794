"""The analysis of a corpus as one HTML page without network references; all text from the corpus is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..files import atomic_write

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5c6b7a; --line: #d9dfe5; --bar: #2f6fab; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --soft: #9aa8b5; --line: #333e49; --bar: #6ba6dd; --page: #14191f; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto;
  max-width: 64rem; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; color: var(--soft); } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
td.share { width: 30%; min-width: 6rem; } .bar { background: var(--bar); height: .8rem; border-radius: 2px; }
details { margin: .5rem 0; color: var(--soft); } summary { cursor: pointer; } details table { color: var(--ink); }
svg { width: 100%; height: auto; max-width: 48rem; } svg rect { fill: var(--bar); }
svg text { fill: var(--soft); font-size: 11px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem 2rem; }
"""
SHOWN_ROWS = 20  # of a table of groups; the rest unfolds
PLOT_WIDTH, PLOT_HEIGHT, LABEL_HEIGHT = 640, 160, 20


def write_page(path: Path, analysis: dict[str, Any]) -> None:
    """Write the page for the content of ``analysis.json``."""
    with atomic_write(path) as stream:
        stream.write(render(analysis).encode())


def render(analysis: dict[str, Any]) -> str:
    """The page as text."""
    total = analysis["total"]
    duplicates = analysis["duplicates"]
    described = ", ".join(f"{total[name]:,} {name}" for name in ("documents", "words", "characters", "bytes"))
    parts = [
        "<h1>What the corpus holds</h1>",
        f"<p>{described}. {analysis['counts']['failed']:,} lines could not be read.</p>",
        "<h2>By source</h2>",
        groups(analysis["sources"], total),
    ]
    if analysis["languages"] is not None:
        parts += ["<h2>By language</h2>", groups(analysis["languages"], total)]
    domains = analysis["domains"]
    parts += [
        "<h2>By domain</h2>",
        f"<p>{domains['number']:,} different values of {escape(domains['field'])}; of an address the host counts.</p>",
        groups(domains["top"], total),
        "<h2>Lengths</h2>",
        '<div class="columns">',
        *(lengths(name, analysis["lengths"][name]) for name in ("words", "characters", "bytes")),
        "</div>",
        "<h2>Duplicates</h2>",
        f"<p>{duplicates['documents']:,} documents ({in_bytes(duplicates['bytes'])}) repeat an earlier text.</p>",
        f"<p>{duplicates['repeated_ids']:,} documents have the source and id of an earlier one.</p>",
    ]
    if duplicates["by_source"]:
        rows = [[row["source"], row["first_in"], f"{row['documents']:,}"] for row in duplicates["by_source"]]
        parts.append(table(("source", "first copy in", "documents"), rows))
    parts += ["<h2>Frequent n-grams</h2>", '<div class="columns">', *map(ngrams, analysis["ngrams"]), "</div>"]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>Corpus analysis</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def in_bytes(size: int) -> str:
    """A size with its unit: below 0.1 MB in kB, so that nothing small reads as none."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, which are escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def groups(rows: Sequence[dict[str, Any]], total: dict[str, int]) -> str:
    """A table of documents, words and bytes with a bar for the share of words."""
    lines = []
    for row in rows:
        share = row["words"] / max(total["words"], 1)
        cells = f"<td>{row['documents']:,}</td><td>{row['words']:,}</td><td>{in_bytes(row['bytes'])}</td>"
        bar = f'<td class="share"><div class="bar" style="width:{100 * share:.2f}%"></div></td>'
        lines.append(f"<tr><td>{escape(row['name'])}</td>{cells}<td>{share:.1%}</td>{bar}</tr>")
    top = "<tr><th></th><th>documents</th><th>words</th><th>text</th><th>of words</th><th></th></tr>"
    shown = f'<div class="wide"><table>{top}{"".join(lines[:SHOWN_ROWS])}</table></div>'
    if len(lines) <= SHOWN_ROWS:
        return shown
    more = f'<div class="wide"><table>{top}{"".join(lines[SHOWN_ROWS:])}</table></div>'
    return f"{shown}<details><summary>{len(lines) - SHOWN_ROWS} more</summary>{more}</details>"


def lengths(name: str, described: dict[str, Any]) -> str:
    """Histogram over powers of two, and quantiles."""
    counts = described["counts_by_power_of_two"]
    most = max(counts)
    step = PLOT_WIDTH / len(counts)
    bars = []
    for k, count in enumerate(counts):
        height = PLOT_HEIGHT * count / most
        span = "0" if k == 0 else f"{1 << (k - 1):,} to {(1 << k) - 1:,}"
        bars.append(
            f'<rect x="{k * step + 1:.1f}" y="{PLOT_HEIGHT - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}">'
            f"<title>{span} {name}: {count:,} documents</title></rect>"
        )
        if k % 3 == 1:
            bars.append(f'<text x="{k * step:.1f}" y="{PLOT_HEIGHT + 14}">{short(1 << (k - 1))}</text>')
    box = f"0 0 {PLOT_WIDTH} {PLOT_HEIGHT + LABEL_HEIGHT}"
    quantiles = described["quantiles"]
    said = (
        f"mean {described['mean']:,.0f}, median {quantiles['0.5']:,}, 5 % below {quantiles['0.05']:,}, "
        f"5 % above {quantiles['0.95']:,}, longest {quantiles['1']:,}"
    )
    plot = f'<svg viewBox="{box}" role="img" aria-label="documents by {name}">{"".join(bars)}</svg>'
    return f"<div><p>Documents by {name}: {said}.</p>{plot}</div>"


def short(number: int) -> str:
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if number >= unit:
            return f"{number // unit}{letter}"
    return str(number)


def ngrams(described: dict[str, Any]) -> str:
    """The most frequent n-grams of one length."""
    rows = [[text, f"{count:,}"] for text, count in described["top"]]
    note = "" if described["exact"] else " (others may be as frequent: too many to follow all)"
    word = "word" if described["n"] == 1 else "words"
    header = (f"{described['n']} {word}, {described['total']:,} in all{note}", "times")
    return f"<div>{table(header, rows)}</div>"
