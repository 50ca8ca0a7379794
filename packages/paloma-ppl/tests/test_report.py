import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paloma_ppl.charts import Axis, labels
from paloma_ppl.cli import app
from paloma_ppl.command_line import run
from paloma_ppl.config import RescoreConfig
from paloma_ppl.metrics import DocumentScore
from paloma_ppl.page import page
from paloma_ppl.positions import PositionSums
from paloma_ppl.report import curves, read_all
from paloma_ppl.rescore import rescore
from paloma_ppl.results import Description, write_results
from paloma_ppl.table import perplexity, render

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)> \"'`\u202ergb \u0000"


def write(folder: Path, name: str, bits: dict[tuple[str, str], float], **changes: Any) -> Path:
    """Results of a model that gives each document of 8 bytes so many bits a byte."""
    folder.mkdir()
    scores = [
        DocumentScore(f"{domain}-{k}", source, domain, 4, 8, 8, 1, -value * 8 * np.log(2))
        for (source, domain), value in bits.items()
        for k in range(2)
    ]
    about = {"suite": "S", "suite_digest": "sha256:0", "split": "test", "format": "paloma", "maximum_length": 8}
    about |= {"tokenizer_digest": "sha256:1", "dtype": "float32", "limit": None, "vocab_size": 4}
    model = {"name": name, "digest": "sha256:2", **changes.pop("trained", {})}
    description = Description(method="model", model=model, **(about | changes))
    total = sum(score.log_probability for score in scores)
    counts = np.array([0, 4 * len(scores), 0, 0])
    positions = [
        PositionSums(source, whole, np.array([4, 4]), np.array([-8.0, -6.0])) for source in ("wiki", "code")
        for whole in (False, True)
    ]  # fmt: skip
    write_results(folder, description, scores, (counts, np.array([0, total, 0, 0])), 0.95, positions)
    return folder


BITS = {("wiki", "hard"): 3.0, ("wiki", "easy"): 1.0, ("code", HOSTILE): 2.0}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_table_orders_domains_by_fit_and_sets_two_models_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a", "A", BITS)
    write(tmp_path / "b", "B", {key: value / 2 for key, value in BITS.items()})
    assert run(app, ["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    lines = capsys.readouterr().out.splitlines()
    places = [next(k for k, line in enumerate(lines) if word in line) for word in ("easy", "onerror", "hard")]
    assert places == sorted(places)
    assert lines[places[2]].split()[-4:] == ["2", "3.0000", "1.5000", "+1.5000"]


def test_page_is_one_file_and_hostile_text_stays_text(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    write(tmp_path / "a", f"{HOSTILE}/step100", BITS)
    write(tmp_path / "b", f"{HOSTILE}/step200", {key: value / 2 for key, value in BITS.items()})
    row = {"source": "wiki", "domain": "hard", "id": HOSTILE, "bits_per_byte": 3.0, "tokens": 5, "text": "<b>ä</b>"}
    row |= {"ends": [3, 4, 4, 8], "log_probabilities": [-0.5, -3.0, -4.25, -9.0]}
    write_rows(tmp_path / "a" / "worst.jsonl.gz", [row])
    html = tmp_path / "page.html"
    assert run(app, ["report", str(tmp_path / "a"), str(tmp_path / "b"), "--html", str(html)]) == 0
    page = Page(html.read_text(encoding="utf-8"))
    assert {"script", "img", "iframe", "b"} & {tag for tag, _ in page.tags} == {"b"}
    assert not any(name.startswith("on") or name == "src" for _, found in page.tags for name in found)
    links = [found["href"] for _, found in page.tags if "href" in found]
    assert all(link is not None and link.startswith(("#", "data:")) for link in links)
    policies = [found["content"] for _, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert str(policies[0]).startswith("default-src 'none'; style-src 'sha256-")
    assert "⟨U+202E⟩" in page.text
    shaded = [
        (found.get("class"), found["title"]) for tag, found in page.tags if (found.get("title") or "").endswith("nats")
    ]
    assert shaded == [(None, "0.50 nats"), ("l7", "7.25 nats"), ("l7", "9.00 nats")]  # ä has two tokens
    assert {f"#{name}" for name in ("domains", "scatter", "positions", "types", "curves", "worst")} <= set(links)
    labels = [str(found["aria-label"]) for tag, found in page.tags if tag == "svg" and "aria-label" in found]
    losses = [label.split(" against ")[0] for label in labels if label.startswith("nats per token")]
    assert losses == [f"nats per token, {name}" for name in ("all windows", "whole windows", "wiki", "code")]


def test_page_shows_curves_and_rates_over_training_and_over_sizes(tmp_path: Path) -> None:
    for size in (10, 1000):
        for step in (0, 5, 50):
            bits = {key: value / (1 + step) ** (0.1 if size == 10 else 0.2) for key, value in BITS.items()}
            about = {"parameters": size, "step": step, "tokens_seen": 8 * step}
            write(tmp_path / f"{size}-{step}", f"run{size}/step{step}", bits, trained=about)
    html = tmp_path / "page.html"
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    assert run(app, ["report", *paths, "--html", str(html)]) == 0
    page = Page(html.read_text(encoding="utf-8"))
    labels = [str(found["aria-label"]) for tag, found in page.tags if tag == "svg" and "aria-label" in found]
    for over in ("tokens", "parameters"):
        sets = [label.split(" against ")[0] for label in labels if label.endswith(f" against {over}")]
        assert sets == [f"bits per byte, {name}" for name in ("micro", "macro", "wiki", "code")]
    assert "run10: by how much the logarithm of the loss falls while tokens grow tenfold, from 40 to 400" in page.text
    assert "sizes of models: by how much the logarithm of the loss falls while parameters grow tenfold" in page.text
    assert "What has seen no training is not drawn." in page.text
    rate = 0.1 * np.log(51 / 6)
    assert page.text.count(f"{rate:+.4f}") >= 5  # micro, macro, two sources and three domains, of small runs


def test_results_of_other_suites_are_not_reported_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", "A", BITS)
    write(tmp_path / "b", "B", BITS, limit=3)
    assert run(app, ["report", str(tmp_path / "a"), str(tmp_path / "b"), "--html", str(tmp_path / "p.html")]) == 2
    assert "limit differs: None and 3" in capsys.readouterr().err
    assert run(app, ["report"]) == 2
    assert "no results were given" in capsys.readouterr().err
    assert run(app, ["report", str(tmp_path)]) == 2
    assert not (tmp_path / "p.html").exists()


def test_a_limit_and_the_settings_stand_beside_every_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limited = [str(write(tmp_path / name, name, BITS, limit=6, trained={"step": step})) for step, name in ((1, "a"),
               (2, "b"))]  # fmt: skip
    for line in (["report", *limited], ["rescore", "--results", limited[0]],
                 ["compare", *limited, "--output", str(tmp_path / "c.json")],
                 ["curves", *limited, "--over", "steps", "--output", str(tmp_path / "k.json")]):  # fmt: skip
        assert run(app, line) == 0
        out = capsys.readouterr().out
        assert out.startswith("LIMITED to 6 documents of the split, chosen by hash\n")
        assert line[0] == "rescore" or out.endswith("format paloma, windows of 8 tokens, float32\n")
    training = write(tmp_path / "t", "t", BITS, limit=6, format="training")
    assert run(app, ["report", limited[0], str(training)]) == 2
    assert "format differs: paloma and training" in capsys.readouterr().err


def test_other_levels_of_intervals_are_told_and_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a, b = (write(tmp_path / name, name, BITS) for name in ("a", "b"))
    read_all([a, b])
    assert caplog.messages == []
    rescore(RescoreConfig(results=b, confidence=0.9))
    text = page(read_all([a, b]))
    told = "the levels of the intervals differ: 0.95, 0.9; rescore --confidence makes them alike"
    assert caplog.messages[1:] == [told]
    assert [text.count(f"<bdi>{level}% interval</bdi>") for level in (95, 90)] == [1, 1]


def test_damaged_rows_are_one_line(
    tmp_path: Path, write_rows: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "a", "A", BITS)
    write_rows(folder / "worst.jsonl.gz", ['{"source": "wiki"', json.dumps({"source": "wiki"})])
    assert run(app, ["report", str(folder), "--html", str(tmp_path / "p.html")]) == 2
    assert "worst.jsonl.gz" in capsys.readouterr().err
    write_rows(folder / "worst.jsonl.gz", [{"source": "wiki"}])
    assert run(app, ["report", str(folder), "--html", str(tmp_path / "p.html")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_cells_of_the_terminal_are_short_plain_lines() -> None:
    hostile = "a\u202eb\x1b[2Jc\n\td" + "e" * 100
    assert render(["name", "n"], [[hostile, "1"]], 1).splitlines() == [
        "name" + " " * 57 + " n",
        "-" * 60 + "  -",
        "a⟨U+202E⟩b⟨U+001B⟩[2Jc d" + "e" * 35 + "…  1",
    ]
    assert [perplexity(value) for value in (None, 1234.5, 2e41)] == ["-", "1,234.50", "2e+41"]


@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize("values", [(0.4, 53.0), (3.2, 20.9), (1.0, 1.02), (1e-3, 4e5), (7.0, 7.0)])
def test_an_axis_has_a_few_round_labels(values: tuple[float, float], logarithm: bool) -> None:
    ticks = Axis.of(values, logarithm=logarithm).ticks()
    assert 3 <= len(ticks) <= 10
    assert len(set(labels(ticks))) == len(ticks)


def test_lines_are_not_filled_and_colours_are_explained(tmp_path: Path) -> None:
    write(tmp_path / "a", "run/step100", BITS)
    write(tmp_path / "b", "run/step200", {key: value / 2 for key, value in BITS.items()})
    html = tmp_path / "page.html"
    assert run(app, ["report", str(tmp_path / "a"), str(tmp_path / "b"), "--html", str(html)]) == 0
    text = html.read_text(encoding="utf-8")
    fills = [rule for rule in text.split("}") if "path" in rule and "fill:none" in rule]
    assert len(fills) == 1
    assert "path[class]{" in fills[0]  # above the colours, which fill points
    keys = [part.split("</ul>")[0] for part in text.split('<ul class="key">')[1:]]
    assert [key.count("<circle") for key in keys] == [2, 2, 1]  # sources, results, runs
    assert "run/step200" in keys[1]


def test_eleven_sources_look_different_in_the_key_and_in_the_scatter(tmp_path: Path) -> None:
    bits = {(f"s{number}", f"d{number}"): 1.0 + number for number in range(11)}
    write(tmp_path / "a", "one", bits)
    write(tmp_path / "b", "two", bits)
    html = tmp_path / "page.html"
    assert run(app, ["report", str(tmp_path / "a"), str(tmp_path / "b"), "--html", str(html)]) == 0
    text = html.read_text(encoding="utf-8")
    key = text.split('<ul class="key">')[1].split("</ul>")[0]
    marks = re.findall(r'<circle class="([^"]+)"', key)
    assert len(set(marks)) == 11
    assert set(re.findall(r'<circle class="dot ([^"]+)"', text)) >= set(marks)


def curves_drawn(folder: Path, models: dict[str, dict[str, Any]]) -> list[tuple[str, str, list[tuple[int, str]]]]:
    paths = []
    for number, (name, about) in enumerate(models.items()):
        bits = {key: value / (1 + number) for key, value in BITS.items()}
        paths.append(write(folder / str(number), name, bits, trained=about))
    return [
        (curve.name, curve.over, [(at, result.name) for at, result in curve.points])
        for curve in curves(read_all(paths))
    ]


def test_sizes_in_names_are_no_steps(tmp_path: Path) -> None:
    models = {f"EleutherAI/pythia-{size}m": {"parameters": size} for size in (160, 410)}
    drawn = [(160, "EleutherAI/pythia-160m"), (410, "EleutherAI/pythia-410m")]
    assert curves_drawn(tmp_path, models) == [("sizes of models", "parameters", drawn)]


def test_checkpoints_of_two_runs_make_no_curve_and_those_of_a_hub_one_over_steps(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert curves_drawn(tmp_path / "runs", {"A/step1000": {"step": 1000}, "B/step2000": {"step": 2000}}) == []
    (tmp_path / "hub").mkdir()
    revisions = ("step2000-tokens4B", "step1000-tokens2B")
    models = {f"org/model-7b/{revision}": {"revision": revision} for revision in revisions}
    drawn = [(1000, "org/model-7b/step1000-tokens2B"), (2000, "org/model-7b/step2000-tokens4B")]
    assert curves_drawn(tmp_path / "hub", models) == [("org/model-7b", "steps", drawn)]
