"""The page of a run and the charts on it."""

from __future__ import annotations

import json
import math
import re
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.callbacks.report import Report
from olmo_model.line_chart import Series, figure, line_chart, short, smoothed, thin, ticks
from olmo_model.run_report import Header, History, page

NAN = float("nan")
FACTS = {"time left": "1:02:03"}


def curve(*values: float) -> Series:
    return Series(name="loss", x=np.arange(1.0, len(values) + 1), y=np.array(values))


def header(state: str = "running", name: str = "stories") -> Header:
    return Header(run_name=name, state=state, step=30, max_steps=60, written="2026-11-24 12:00:00 +0000", facts=FACTS)


def logged(loss: float) -> dict[str, float]:
    return {
        "train/CrossEntropyLoss": loss,
        "optim/learning_rate": 0.001,
        "optim/total_grad_norm": 0.5,
        "throughput/tokens_per_second": 1000.0,
    }


class Outside(HTMLParser):
    """Gathers everything that a page would load or run, and its unclosed tags."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.titles: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.loaded += [
            f"{tag} {key}={value}" for key, value in attributes if key in ("src", "href") and value != "data:,"
        ]
        if tag == "script":
            self.loaded.append(tag)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "b":
            self.titles.append(data)


def parsed(text: str) -> Outside:
    found = Outside()
    found.feed(text)
    assert found.open == []
    return found


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 5, 10]), (0.0, 0.0004, [0, 1e-4, 2e-4, 3e-4, 4e-4]), (1, 3, [1, 1.5, 2, 2.5, 3]), (7, 7, [7])],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == expected


@pytest.mark.parametrize(
    ("value", "axis", "text"),
    [
        (0, "0", "0"),
        (4e-5, "4e-05", "4e-05"),
        (20_000, "20k", "20,000"),
        (1.5e6, "1.5M", "1,500,000"),
        (2.31341, "2.313", "2.313"),
    ],
)
def test_numbers_are_short_on_axes_and_whole_in_text(value, axis, text):
    assert (short(value), figure(value)) == (axis, text)


def test_smoothing_is_centred_and_leaves_gaps():
    found = smoothed(np.array([1.0, 2.0, 6.0, NAN, 4.0, 8.0]), 3)
    assert found.tolist()[:3] == [1.0, 3.0, 4.0]
    assert math.isnan(found[3])
    assert found.tolist()[4:] == [6.0, 8.0]


def test_thinning_keeps_every_spike_and_the_ends():
    x = np.arange(100_000.0)
    y = np.sin(x / 5000)
    y[43_210], y[87_654] = 50, -50
    kept_x, kept_y = thin(x, y)
    assert len(kept_x) <= 602
    assert {50.0, -50.0} <= set(kept_y.tolist())
    assert (kept_x[0], kept_x[-1]) == (0, 99_999)


def test_thinning_keeps_a_wide_gap():
    y = np.ones(10_000)
    y[4000:5000] = NAN
    x, kept = thin(np.arange(10_000.0), y)
    inside = kept[(x > 4050) & (x < 4950)]
    assert len(inside) > 0
    assert np.isnan(inside).all()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=40))
def test_any_values_make_a_chart_without_a_value_that_is_not_finite(values):
    with np.errstate(all="raise"):
        drawn = line_chart("Loss", "nats", [curve(*values)])
    parsed(drawn)
    assert not re.search(r'(nan|inf)[ "hLM%]', drawn)


def test_a_gap_parts_the_curve_and_a_lone_value_is_a_dot():
    drawn = line_chart("Loss", "nats", [curve(1, 2, NAN, 2, NAN, 1, 1)])
    (line,) = re.findall(r'class="line" d="([^"]*)"', drawn)
    (dots,) = re.findall(r'class="line dots" d="([^"]*)"', drawn)
    assert re.sub(r"[\d. ]", "", line) == "MLML"
    assert dots == "M500 0h0"


def test_one_value_stands_in_the_middle():
    drawn = line_chart("Loss", "nats per token", [curve(2.5)])
    assert re.findall(r'd="([^"]*)"', drawn) == ["M500 500h0"]
    assert "2.5 at 1<" in drawn
    assert 'class="name"' in drawn
    assert drawn.count("nats per token") == 3  # beside the title, at the axis, for screen readers


def test_a_spike_that_would_hide_the_rest_makes_the_axis_logarithmic():
    assert "L2, logarithmic" in line_chart("Norm", "L2", [curve(1, 1, 1, 100)])
    assert "logarithmic" not in line_chart("Norm", "L2", [curve(1, 1, 1, 10)])
    assert "logarithmic" not in line_chart("Norm", "L2", [curve(0, 1, 1, 100)])


def test_without_a_finite_value_the_chart_says_so():
    assert "no finite value yet" in line_chart("Loss", "nats", [curve(NAN, math.inf)])


def test_the_page_loads_nothing_and_shows_every_series():
    history = History()
    for step in range(1, 101):
        row = logged(2.0)
        if step % 50 == 0:
            row |= {"eval/perplexity/all/bits_per_byte": 1.0, "eval/perplexity/wiki/bits_per_byte": 1.0}
            row |= {"eval/downstream/arc_acc_raw": 0.3, "optim/param/wte.norm": 3.0}
        history.add(step, row, logged=True)
    text = page(header(), history)
    found = parsed(text)
    assert found.loaded == []
    assert "url(" not in text
    assert "@import" not in text
    assert found.titles == ["Loss", "Learning rate", "Gradient norm", "Throughput", "all", "wiki", "arc_acc_raw"]
    assert "mean of 21" in text
    assert "stories: step 30 of 60" in text
    assert "<dt>time left</dt><dd>1:02:03</dd>" in text
    assert "prefers-color-scheme:dark" in text


def test_only_a_running_page_reads_itself_again():
    assert 'http-equiv="refresh" content="15"' in page(header(), History())
    assert "refresh" not in page(header("complete"), History())


def test_names_cannot_break_the_page():
    history = History()
    history.add(1, {"eval/perplexity/<script>alert(1)</script>/bits_per_byte": 1.0}, logged=False)
    assert parsed(page(header(name='<b a="'), history)).loaded == []


def test_a_hundred_thousand_rows_are_a_small_page():
    history = History()
    for step in range(100_000):
        history.add(step, logged(2 + step % 7), logged=True)
    began = time.process_time()
    text = page(header(), history)
    assert time.process_time() - began < 5  # a fraction of a second on an idle machine
    assert len(text) < 200_000


def trainer(step: int, *, complete: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        current_step=step, max_steps=100, seconds=2.0 * step, complete=complete, due=lambda every: step % every == 0
    )


def make_report(folder, **changes) -> Report:
    metrics = folder / "metrics.jsonl"
    arguments = {"run_name": "stories", "interval": 2, "log_interval": 10} | changes
    return Report(folder / "report.html", metrics, tokens_seen=lambda step: 100 * step, **arguments)


def test_the_page_is_written_every_so_many_logged_steps_and_at_the_end(tmp_path):
    report = make_report(tmp_path)
    report.start(trainer(0))
    written = []
    for step in range(1, 41):
        report.step(trainer(step), logged(2.0) if step == 1 or step % 10 == 0 else {})
        if (tmp_path / "report.html").exists():
            written.append(step)
            (tmp_path / "report.html").unlink()
    assert written == [1, 20, 40]
    report.finish(trainer(40, complete=True))
    assert "complete: step 40 of 100" in (tmp_path / "report.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_time_left_and_speed_stand_in_the_header(tmp_path):
    report = make_report(tmp_path)
    report.start(trainer(0))
    more = {"throughput/device/MFU": 41.26, "System/Peak CPU Memory (MB)": 1234.0}
    report.step(trainer(1), logged(2.0) | more)
    text = (tmp_path / "report.html").read_text()
    for name, value in (
        ("time left", "3:18"),
        ("loss, nats per token", "2.0000"),
        ("tokens per second", "1,000"),
        ("MFU", "41.3 %"),
        ("peak memory", "1,234 MB"),
        ("tokens seen", "100"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text


def test_a_run_that_goes_on_shows_what_was_before(tmp_path):
    rows = [{"step": step, "time": 0.0} | logged(3.0) for step in (1, 10, 20)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = make_report(tmp_path)
    report.start(trainer(20))
    report.finish(trainer(20))
    assert "stopped: step 20 of 100" in (tmp_path / "report.html").read_text()
    steps, losses = report.history.curve("train/CrossEntropyLoss")
    assert (steps.tolist(), losses.tolist()) == ([1, 10, 20], [3.0, 3.0, 3.0])


def test_a_logged_step_that_was_not_finite_is_a_gap(tmp_path):
    report = make_report(tmp_path)
    report.start(trainer(0))
    for step, row in ((1, logged(3.0)), (10, {}), (20, logged(2.0))):
        report.step(trainer(step), row)
    steps, losses = report.history.curve("train/CrossEntropyLoss")
    assert steps.tolist() == [1, 10, 20]
    assert math.isnan(losses[1])


def test_a_page_that_cannot_be_written_ends_no_run(tmp_path, caplog):
    (tmp_path / "report.html").mkdir()
    report = make_report(tmp_path)
    report.start(trainer(0))
    report.step(trainer(1), logged(2.0))
    assert "report.html is not up to date: " in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
