"""HTML pages without network references; that of the analysis of a corpus. All text from the corpus is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5c6b7a; --line: #d9dfe5; --bar: #2f6fab; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --soft: #9aa8b5; --line: #333e49; --bar: #6ba6dd; --page: #14191f; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto;
  max-width: 64rem; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem;
  overflow-wrap: anywhere; }
p { margin: .3rem 0; color: var(--soft); } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
td.share { width: 30%; min-width: 6rem; } .bar { background: var(--bar); height: .8rem; border-radius: 2px; }
details { margin: .5rem 0; color: var(--soft); } summary { cursor: pointer; } details table { color: var(--ink); }
svg { width: 100%; height: auto; max-width: 48rem; } svg rect { fill: var(--bar); }
svg text { fill: var(--soft); font-size: 14px; }
@media (max-width: 40rem) { svg text { font-size: 20px; } }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem 2rem; }
"""
SHOWN_ROWS = 20  # of a table of groups; the rest unfolds
PLOT_WIDTH, PLOT_HEIGHT, LABEL_HEIGHT = 640, 160, 24


@dataclass(frozen=True)
class Bar:
    """A bar of a plot: its width in bins, its count, and what is said of it."""

    width: int
    count: int
    title: str


def render(analysis: dict[str, Any]) -> str:
    """The page for the content of ``analysis.json``, as text."""
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
    return whole_page("Corpus analysis", parts)


def whole_page(title: str, parts: Iterable[str]) -> str:
    """A page of HTML ``parts``."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{escape(title)}</title><style>{STYLE}</style></head>'
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
    bars, labels = [], []
    for k, count in enumerate(described["counts_by_power_of_two"]):
        span = "0" if k == 0 else f"{1 << (k - 1):,} to {(1 << k) - 1:,}"
        bars.append(Bar(1, count, f"{span} {name}: {count:,} documents"))
        if k % 3 == 1:
            labels.append((float(k), short(1 << (k - 1))))
    quantiles = described["quantiles"]
    said = (
        f"mean {described['mean']:,.0f}, median {quantiles['0.5']:,}, 5 % below {quantiles['0.05']:,}, "
        f"5 % above {quantiles['0.95']:,}, longest {quantiles['1']:,}"
    )
    return f"<div><p>Documents by {name}: {said}.</p>{plot(bars, labels, f'documents by {name}')}</div>"


def plot(bars: Sequence[Bar], labels: Iterable[tuple[float, str]], about: str) -> str:
    """A histogram with ``(bin, text)`` labels below it; what is not empty is at least one unit high."""
    most = max(bar.count for bar in bars)
    bins = sum(bar.width for bar in bars)
    step = PLOT_WIDTH / bins
    gap = min(1.0, step / 10)
    parts = []
    at = 0
    for bar in bars:
        height = max(PLOT_HEIGHT * bar.count / most, 1.0 if bar.count else 0.0)
        box = f'x="{at * step + gap:.1f}" y="{PLOT_HEIGHT - height:.1f}"'
        size = f'width="{bar.width * step - 2 * gap:.1f}" height="{height:.1f}"'
        parts.append(f"<rect {box} {size}><title>{escape(bar.title)}</title></rect>")
        at += bar.width
    for place, text in labels:
        anchor = "start" if place < bins / 3 else "end" if place == bins else "middle"
        parts.append(
            f'<text x="{place * step:.1f}" y="{PLOT_HEIGHT + 18}" text-anchor="{anchor}">{escape(text)}</text>'
        )
    box = f"0 0 {PLOT_WIDTH} {PLOT_HEIGHT + LABEL_HEIGHT}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(about)}">{"".join(parts)}</svg>'


def short(number: int) -> str:
    """A number of bytes as whole G, M or K (powers of 1024), rounded down."""
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
