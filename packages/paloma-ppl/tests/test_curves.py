import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paloma_ppl.blocks import Singles
from paloma_ppl.cli import app
from paloma_ppl.command_line import run
from paloma_ppl.config import CurvesConfig, RunConfig
from paloma_ppl.curves import curves, log_ratio_and_error, log_ratio_jackknife_error, ratio_of_means
from paloma_ppl.errors import UserError
from paloma_ppl.evaluate import evaluate
from paloma_ppl.metrics import DocumentScore
from paloma_ppl.results import Description, write_results
from paloma_ppl.statistics import with_products
from paloma_ppl.table import curves_table

DOMAINS = [("s", "a"), ("s", "b"), ("r", "c")]


def results(folder: Path, name: str, bits: list[float], tokenizer: str = "3", **about: Any) -> Path:
    """Documents of 100 bytes and 10 tokens, in turn of the three domains."""
    values = {"suite": "s", "suite_digest": "sha256:" + "1" * 64, "split": "test", "format": "paloma",
              "maximum_length": 8, "dtype": "float32", "limit": None, "vocab_size": 9}  # fmt: skip
    model = {"name": name, "digest": "sha256:" + "0" * 64, **about}
    scores = [DocumentScore(str(n), *DOMAINS[n % 3], 10, 100, 100, 20, -math.log(2) * b) for n, b in enumerate(bits)]
    description = Description(method="model", model=model, tokenizer_digest="sha256:" + tokenizer * 64, **values)
    write_results(folder / name, description, scores, None, 0.95)
    return folder / name


BITS = np.array([100.0 + 10 * (n % 5) for n in range(36)])
NOISE = 1 + 0.05 * np.sin(np.arange(36) ** 2)


def by_name(found: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {(row["level"], row["source"] or "", row["domain"] or ""): row for row in found["rows"]}


def test_rate_is_the_one_of_the_paper_and_lies_in_its_interval(tmp_path: Path) -> None:
    paths = [
        results(tmp_path, "step300", list(BITS / 4 * NOISE), step=300, tokens_seen=3000, parameters=7),
        results(tmp_path, "step3", list(BITS), step=3, tokens_seen=30, parameters=7),
        results(tmp_path, "step30", list(BITS / 2), step=30, tokens_seen=300, parameters=7),
    ]
    found = curves(paths, CurvesConfig(output=tmp_path / "c.json"))
    assert json.loads((tmp_path / "c.json").read_text()) == found
    assert found["results"] == [
        {"name": f"step{n}", "at": float(10 * n), "format": "paloma", "maximum_length": 8, "dtype": "float32"}
        for n in (3, 30, 300)
    ]
    assert found["limit"] is None
    assert curves_table(found).endswith("\nformat paloma, windows of 8 tokens, float32")
    assert (found["rate_from"], found["rate_to"]) == (30.0, 3000.0)
    rows = by_name(found)
    assert len(rows) == 3 + 2 + 2
    for index, (source, domain) in enumerate(DOMAINS):
        row = rows["domain", source, domain]
        members = [n for n in range(36) if n % 3 == index]
        nats = [math.log(2) * sum(b[n] for n in members) / (10 * len(members)) for b in (BITS, BITS / 4 * NOISE)]
        assert [row["perplexity"][0], row["perplexity"][2]] == pytest.approx([math.exp(value) for value in nats])
        rate = (math.log(math.log(row["perplexity"][0])) - math.log(math.log(row["perplexity"][2]))) / 2
        assert row["rate"] == pytest.approx(rate)
        assert row["rate"] == pytest.approx(math.log(4) / 2, abs=0.02)
        assert row["rate_low"] < row["rate"] < row["rate_high"]
        assert row["rate_high"] - row["rate_low"] < 0.05  # pairing: documents differ by a third, their ratios little
        assert row["interval"].startswith("studentised bootstrap over documents, 2000 resamples")
    macro, micro = rows["aggregate", "", "macro"], rows["aggregate", "", "micro"]
    for name in ("bits_per_byte", "perplexity"):
        values = [rows["domain", source, domain][name] for source, domain in DOMAINS]
        assert macro[name] == pytest.approx([sum(each) / 3 for each in zip(*values, strict=True)])
    assert micro["bits_per_byte"][1] == pytest.approx(BITS.sum() / 2 / 3600)
    assert macro["rate"] == pytest.approx(math.log(macro["bits_per_byte"][0] / macro["bits_per_byte"][2]) / 2)
    # domains of equal bytes: both aggregates are the same number, by two ways
    assert [macro["rate_low"], macro["rate_high"]] == pytest.approx([micro["rate_low"], micro["rate_high"]], abs=1e-3)


def test_axis_is_what_is_asked_for_and_places_may_be_given(tmp_path: Path) -> None:
    paths = [results(tmp_path, f"m{n}", list(BITS / n), step=n, tokens_seen=0 if n == 1 else 5, parameters=10**n)
             for n in (1, 2)]  # fmt: skip

    def at(over: Any = "tokens", *places: float) -> list[float]:
        config = CurvesConfig(output=tmp_path / "c.json", over=over, at=places)
        return [result["at"] for result in curves(paths, config)["results"]]

    assert at("parameters") == [10, 100]
    assert at("steps") == [1, 2]
    assert at("tokens", 40, 4) == [4, 40]
    with pytest.raises(UserError, match="only one result lies above 0"):
        at("tokens")
    with pytest.raises(UserError, match="3 places for 2 results"):
        at("tokens", 1, 2, 3)
    with pytest.raises(UserError, match="both lie at 5"):
        at("tokens", 5, 5)
    with pytest.raises(UserError, match="no number from 0 on"):
        at("tokens", 5, math.nan)


def test_results_that_make_no_curve_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = results(tmp_path, "a", list(BITS)), results(tmp_path, "b", list(BITS / 2), tokens_seen=3)
    short = results(tmp_path, "short", list(BITS[:-1]), tokens_seen=4)
    for paths, message in (([one], "1 results make no curve"), ([one, other], "do not say tokens_seen"),
                           ([other, short], "36 and 35 documents")):  # fmt: skip
        assert run(app, ["curves", *map(str, paths), "--output", str(tmp_path / "c.json")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "c.json").exists()


def test_other_tokenizers_have_rates_and_no_perplexity(tmp_path: Path) -> None:
    paths = [results(tmp_path, "a", list(BITS), "3", parameters=10), results(tmp_path, "b", list(BITS / 2), "4",
             parameters=1000)]  # fmt: skip
    rows = curves(paths, CurvesConfig(output=tmp_path / "c.json", over="parameters"))["rows"]
    for row in rows:
        assert row["perplexity"] == [None, None]
        assert row["rate"] == pytest.approx(math.log(2) / 2)
        assert (row["rate_low"], row["rate_high"]) == pytest.approx((row["rate"], row["rate"]))  # all alike


def test_a_loss_of_nothing_has_no_rate(tmp_path: Path) -> None:
    zero = [0.0 if n % 3 == 2 else value for n, value in enumerate(BITS)]
    for first, last in ((list(BITS), zero), (zero, list(BITS))):
        paths = [results(tmp_path, "a", first), results(tmp_path, "b", last)]
        rows = by_name(curves(paths, CurvesConfig(output=tmp_path / "c.json", at=(1, 10))))
        row = rows["domain", "r", "c"]
        assert (row["rate"], row["rate_low"], row["interval"]) == (
            None,
            None,
            "none: a loss of nothing has no logarithm",
        )
        assert rows["aggregate", "", "micro"]["rate"] is not None
        assert rows["aggregate", "", "macro"]["rate"] is not None


def test_error_of_a_ratio_of_means_by_brute_force() -> None:
    generator = np.random.default_rng(1)
    parts = [np.exp(generator.normal(0, 0.5, (n, 3))) for n in (5, 8)]

    def statistic(parts: list[Any]) -> float:
        sums = [part.sum(axis=0) for part in parts]
        return math.log(sum(s[0] / s[2] for s in sums) / sum(s[1] / s[2] for s in sums))

    variance = linear = 0.0
    for place, part in enumerate(parts):
        without = np.array([
            statistic([np.delete(other, row, axis=0) if k == place else other for k, other in enumerate(parts)])
            for row in range(len(part))
        ])  # fmt: skip
        variance += (1 - 1 / len(part)) * np.sum((without - without.mean()) ** 2)
        changes = []
        for row in range(len(part)):  # derivative by the weight of a document
            heavier = [np.vstack([other, 1e-6 * part[row]]) if k == place else other for k, other in enumerate(parts)]
            changes.append((statistic(heavier) - statistic(parts)) / 1e-6)
        linear += len(part) / (len(part) - 1) * np.sum(np.square(changes))
    assert log_ratio_jackknife_error(parts) == pytest.approx(math.sqrt(variance), rel=1e-9)
    point, error = log_ratio_and_error([with_products(part).sum(axis=0) for part in parts], [5, 8])
    assert float(point) == pytest.approx(statistic(parts))
    assert float(error) == pytest.approx(math.sqrt(linear), rel=1e-5)


def test_interval_of_a_ratio_of_means_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    hits = 0
    for number in range(200):
        columns, keys = [], []
        for domain, (first, last) in enumerate(((1.0, 0.5), (3.0, 2.5))):
            size = np.exp(generator.normal(7, 1, 25))
            ease = generator.gamma(4, 0.25, 25)
            columns.append(
                np.stack([size * ease * first, size * ease * last * generator.gamma(16, 1 / 16, 25), size], 1)
            )
            keys += [(str(number), str(domain))] * 25
        interval = ratio_of_means(keys, np.concatenate(columns), 0.9, Singles({}, {}))
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 4 / 3 <= interval.high
    assert 0.84 <= hits / 200 <= 0.96


def test_a_run_keeps_what_the_checkpoint_says(
    model_folder: Path, suite_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    read_rows: Callable[..., Any],
) -> None:  # fmt: skip
    from shutil import copytree

    for step in (2, 20):
        folder = copytree(model_folder, tmp_path / "run" / f"step{step}")
        about = {"artifact": "checkpoint", "format_version": 1, "step": step, "tokens_seen": 64 * step}
        (folder / "manifest.json").write_text(json.dumps(about))
        settings = {"model": str(tmp_path / "run"), "revision": f"step{step}", "suite": suite_folder, "limit": 12}
        evaluate(RunConfig(output=tmp_path / f"P{step}", device="cpu", **settings))  # type: ignore[arg-type]
        model = json.loads((tmp_path / f"P{step}" / "manifest.json").read_text())["model"]
        assert (model["step"], model["tokens_seen"]) == (step, 64 * step)
        assert model["parameters"] == 2 * 320 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64)
    evaluate(RunConfig(output=tmp_path / "Q", device="cpu", **settings | {"model": str(folder), "revision": None}))  # type: ignore[arg-type]
    assert (tmp_path / "Q" / "manifest.json").read_text() == (tmp_path / "P20" / "manifest.json").read_text()
    assert (model["name"], model["revision"]) == ("run/step20", "step20")
    line = ["curves", str(tmp_path / "P20"), str(tmp_path / "P2"), "--output", str(tmp_path / "c.json")]
    assert run(app, [*line, "--dry-run"]) == 0
    assert "run/step2: 128.0" in capsys.readouterr().out
    assert run(app, line) == 0
    out = capsys.readouterr().out
    assert "from 128 to 1.28k" in out
    assert out.splitlines()[0].startswith("LIMITED to 12 documents")
    assert out.splitlines()[4].split()[0] == "(micro)"
