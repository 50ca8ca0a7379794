"""The page that shows a run: one HTML file with everything in it, which looks at itself again while the run goes on."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np

from .line_chart import Series, Values, line_chart, smoothed

LOSS = "train/CrossEntropyLoss"
PERPLEXITY, DOWNSTREAM = "eval/perplexity/", "eval/downstream/"
SMOOTHED = 21  # logged steps
REFRESH_SECONDS = 15
# name, title, unit, whether the axis begins at zero
CHARTS = (
    ("optim/learning_rate", "Learning rate", "per step", True),
    ("optim/total_grad_norm", "Gradient norm", "L2, before clipping", True),
    ("throughput/tokens_per_second", "Throughput", "tokens per second", True),
    ("throughput/device/MFU", "MFU", "% of the device's peak", True),
)
LOGGED = (LOSS, *(name for name, *_ in CHARTS))
UNITS = {"CrossEntropyLoss": "nats per token", "bits_per_byte": "bits per byte"}
STYLE = """
:root{color-scheme:light dark;--back:#fff;--card:#f6f7f9;--text:#1b1f24;--soft:#57606a;--grid:#d8dee4;--line:#0072b2;
--faint:#8fb8d4}
@media(prefers-color-scheme:dark){:root{--back:#0f1318;--card:#181d24;--text:#e6e9ed;--soft:#a3adb8;--grid:#323a44;
--line:#56b4e9;--faint:#31617f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:16px;max-width:1500px;background:var(--back);color:var(--text);
font:14px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:22px;margin:0 0 2px;overflow-wrap:anywhere}
h2{font-size:17px;margin:24px 0 8px}
p{margin:0 0 12px;color:var(--soft)}
.bar{height:8px;border-radius:4px;background:var(--grid);overflow:hidden;margin:8px 0 12px}
.bar i{display:block;height:100%;background:var(--line)}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(155px,1fr));gap:8px;margin:0 0 16px}
dl div{background:var(--card);border-radius:6px;padding:8px 10px}
dt{color:var(--soft);font-size:12px}
dd{margin:0;font-size:17px;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:12px}
figure{margin:0;padding:10px 14px 8px 76px;background:var(--card);border-radius:6px;min-width:0}
figcaption{margin:0 0 12px -64px;display:flex;flex-wrap:wrap;gap:0 8px;align-items:baseline}
figcaption b{overflow-wrap:anywhere}
figcaption span{color:var(--soft);font-size:12px}
.last{margin-left:auto;font-variant-numeric:tabular-nums}
figcaption div{flex-basis:100%;display:flex;gap:10px}
.key{display:inline-flex;align-items:center;gap:4px}
.none{margin-left:-64px}
svg{overflow:visible;width:100%;display:block}
.key svg{width:22px}
.plot line{stroke:var(--grid);stroke-width:1}
text{fill:var(--soft);font-size:12px}
.name{text-anchor:middle}
.value{text-anchor:end;dominant-baseline:central}
path{fill:none;stroke-linecap:round;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.line{stroke:var(--line);stroke-width:2}
.faint{stroke:var(--faint);stroke-width:1.5}
.dots{stroke-width:6}
"""


class History:
    """The values that a report shows, by name and step."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[array[float], array[float]]] = {}

    def add(self, step: int, row: Mapping[str, float], *, logged: bool) -> None:
        """Take what the row of a step has. Where a ``logged`` step has no loss, its curves have a gap."""
        missing = {name: float("nan") for name in LOGGED if name in self.found} if logged and LOSS not in row else {}
        for name, value in {**missing, **row}.items():
            if name in LOGGED or name.startswith(("eval/",)):
                steps, values = self.found.setdefault(name, (array("d"), array("d")))
                steps.append(step)
                values.append(value)

    def curve(self, name: str) -> tuple[Values, Values]:
        """Steps and values; none for a name without any."""
        steps, values = self.found.get(name, (array("d"), array("d")))
        return np.array(steps), np.array(values)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the page says first: ``state`` is running, complete or stopped; ``facts`` are names and values."""

    run_name: str
    state: str
    step: int
    max_steps: int
    written: str
    facts: Mapping[str, str]


def page(header: Header, history: History) -> str:
    """The whole page. It loads nothing; while the run goes on it asks the browser to read it again."""
    running = header.state == "running"
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if running else ""
    again = f", read again every {REFRESH_SECONDS} seconds" if running else ""
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in header.facts.items())
    share = 100 * header.step / header.max_steps
    name = escape(header.run_name)
    sections = "".join(
        f'<h2>{heading}</h2><div class="charts">{"".join(charts)}</div>'
        for heading, charts in (
            ("Training", _training(history)),
            ("Held-out text", _evaluation(history, PERPLEXITY)),
            ("Tasks", _evaluation(history, DOWNSTREAM)),
        )
        if charts
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{name}: step {header.step:,} of {header.max_steps:,}</title>'
        f"<style>{STYLE}</style></head><body><h1>{name}</h1>"
        f"<p>{header.state}: step {header.step:,} of {header.max_steps:,}; written {escape(header.written)}{again}</p>"
        f'<div class="bar"><i style="width:{share:.2f}%"></i></div><dl>{facts}</dl>'
        f"{sections or '<p>No step is logged yet.</p>'}</body></html>\n"
    )


def _training(history: History) -> list[str]:
    charts = []
    steps, losses = history.curve(LOSS)
    if len(steps):
        series = [Series(name="each logged step", x=steps, y=losses)]
        if len(steps) >= 3 * SMOOTHED:
            mean = Series(name=f"mean of {SMOOTHED}", x=steps, y=smoothed(losses, SMOOTHED))
            series = [Series(name="each logged step", x=steps, y=losses, faint=True), mean]
        charts.append(line_chart("Loss", "nats per token", series))
    for name, title, unit, from_zero in CHARTS:
        steps, values = history.curve(name)
        if len(steps):
            charts.append(line_chart(title, unit, [Series(name=title, x=steps, y=values)], from_zero=from_zero))
    return charts


def _evaluation(history: History, prefix: str) -> list[str]:
    """A chart for each series, those over all sources first."""
    names = sorted((name for name in history.found if name.startswith(prefix)), key=lambda n: ("/all/" not in n, n))
    charts = []
    for name in names:
        title, _, measure = name.removeprefix(prefix).rpartition("/")
        unit = UNITS.get(measure, "share of instances" if "_acc" in measure else "value")
        steps, values = history.curve(name)
        charts.append(line_chart(title or measure, unit, [Series(name=name, x=steps, y=values)]))
    return charts
