"""The run: curves of training and of the evaluation in the loop, what a step saw, what the model writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from shared.errors import UserError

from . import axes, charts
from .reading import Output, StageNotRunError

LOSS = "train/CrossEntropyLoss"
PERPLEXITY, DOWNSTREAM = "eval/perplexity/", "eval/downstream/"
CURVES = 6  # in one chart; more cannot be told apart
DOCUMENTS_SHOWN, DOCUMENTS_FOLDED = 12, 1000
GENERATIONS = 12
SMOOTHED_STEPS = 21  # so many logged losses are averaged; the single values stay visible behind


@dataclass(frozen=True)
class Model:
    """The trained model, as far as its files say."""

    name: str | None
    parameters: int
    step: int | None
    tokens_seen: int | None
    dtype: str | None
    training_seconds: float | None


def model(output: Output) -> Model:
    """Size from the run's manifest, progress from its newest checkpoint or its last row of metrics."""
    manifest = output.json("run/manifest.json", "The model was not trained yet")
    step = tokens = dtype = None
    latest = output.root / "run" / "latest"
    if latest.is_file():
        folder = latest.read_text(encoding="utf-8", errors="replace").strip()
        if folder and "/" not in folder and "\\" not in folder and folder not in (".", ".."):
            checkpoint = output.json_or_empty(f"run/{folder}/manifest.json")
            step, tokens, dtype = (checkpoint.get(key) for key in ("step", "tokens_seen", "dtype"))
    if tokens is None and output.has("run/metrics.jsonl"):
        for row in output.rows("run/metrics.jsonl", ""):
            step, tokens = row["step"], row.get("throughput/total_tokens", tokens)
    return Model(manifest.get("run_name"), manifest["parameters"], step, tokens, dtype, training_seconds(output))


def training_seconds(output: Output) -> float | None:
    """Time of the stage that ran ``olmo-model train``."""
    for stage in output.json_or_empty("recipe.json").get("stages", []):
        command = [str(word) for word in stage.get("command") or []]
        if len(command) > 1 and command[0].endswith("olmo-model") and command[1] == "train":
            seconds = stage.get("seconds")
            return None if seconds is None else float(seconds)
    return None


@dataclass(frozen=True)
class Curves:
    """Charts of the run, charts of the evaluation in the loop, and its last values."""

    rows: int
    last_step: int
    training: Sequence[Markup]
    evaluation: Sequence[Markup]
    last_evaluation: Sequence[tuple[str, int, float]]


def curves(output: Output, names: charts.Names) -> Curves:
    """Everything that ``metrics.jsonl`` tells."""
    rows = list(output.rows("run/metrics.jsonl", "The model was not trained yet"))
    if not rows:
        raise StageNotRunError("The run has logged no step yet: run/metrics.jsonl is empty.")
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "time"):
                found.setdefault(name, []).append((row["step"], float(value)))
    training = [
        chart
        for chart in (
            loss_chart(found, names),
            simple_chart(found, names, "optim/learning_rate", "Learning rate", "", from_zero=True),
            simple_chart(found, names, "optim/total_grad_norm", "Gradient norm", "before clipping", from_zero=True),
            simple_chart(
                found, names, "throughput/tokens_per_second", "Training speed", "tokens per second", from_zero=True
            ),
        )
        if chart is not None
    ]
    evaluated = {name: points for name, points in found.items() if name.startswith("eval/")}
    return Curves(
        len(rows),
        rows[-1]["step"],
        training,
        list(evaluation_charts(evaluated, names)),
        [(name, int(points[-1][0]), points[-1][1]) for name, points in sorted(evaluated.items())],
    )


def loss_chart(found: Mapping[str, Sequence[tuple[float, float]]], names: charts.Names) -> Markup | None:
    points = found.get(LOSS)
    if not points:
        return None
    if len(points) < 3 * SMOOTHED_STEPS:
        series = [charts.Series("each logged step", points)]
    else:
        finite = [point for point in points if math.isfinite(point[1])]
        mean = axes.smoothed(finite, SMOOTHED_STEPS)
        series = [
            charts.Series("each logged step", points, faint=True),
            charts.Series(f"mean of {SMOOTHED_STEPS}", mean),
        ]
    return charts.line_chart(names, "Training loss", "nats per token", "step", series)


def simple_chart(
    found: Mapping[str, Sequence[tuple[float, float]]],
    names: charts.Names,
    key: str,
    title: str,
    unit: str,
    from_zero: bool = False,
) -> Markup | None:
    points = found.get(key)
    if not points:
        return None
    return charts.line_chart(names, title, unit, "step", [charts.Series(title, points)], from_zero=from_zero)


def evaluation_charts(evaluated: Mapping[str, Sequence[tuple[float, float]]], names: charts.Names) -> list[Markup]:
    """Bits per byte and perplexity by source, accuracy by task."""
    bits = named(evaluated, PERPLEXITY, "/bits_per_byte")
    perplexity = {
        name: [(x, math.exp(y) if y < 700 else math.inf) for x, y in points]
        for name, points in named(evaluated, PERPLEXITY, "/CrossEntropyLoss").items()
    }
    accuracy = {
        name: [(x, 100 * y) for x, y in points]
        for name, points in named(evaluated, DOWNSTREAM, "").items()
        if "acc" in name or name.endswith("len_norm")
    }
    result = []
    for title, unit, group in (
        ("Held-out text in the loop", "bits per byte", bits),
        ("Perplexity in the loop", "per token", perplexity),
        ("Accuracy in the loop", "% of instances", accuracy),
    ):
        if group:
            first = sorted(group, key=lambda name: (name != "all", name))
            series = [charts.Series(name, group[name]) for name in first[:CURVES]]
            more = f"; {len(first) - CURVES} more in the table" if len(first) > CURVES else ""
            result.append(charts.line_chart(names, title, unit + more, "step", series))
    return result


def named(
    evaluated: Mapping[str, Sequence[tuple[float, float]]], prefix: str, suffix: str
) -> dict[str, Sequence[tuple[float, float]]]:
    return {
        name[len(prefix) : len(name) - len(suffix)]: points
        for name, points in evaluated.items()
        if name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix) + len(suffix)
    }


@dataclass(frozen=True)
class SeenDocument:
    """A document that a step trained on, as far as the look-up names it."""

    identity: str
    source: str
    place: str
    tokens: int
    whole: int | None


@dataclass(frozen=True)
class Seen:
    """What one step saw: the documents with most tokens first."""

    step: int
    documents: int
    tokens: int
    shown: Sequence[SeenDocument]
    folded: Sequence[SeenDocument]
    left_out: int
    by_source: Sequence[tuple[str, int, int]]


def seen(output: Output) -> list[Seen]:
    """The steps of ``which-data.json``."""
    data = output.json("which-data.json", "The documents of a step were not looked up yet")
    return [seen_step(step) for step in data["steps"]]


def seen_step(step: Mapping[str, Any]) -> Seen:
    merged: dict[tuple[str, str, str], SeenDocument] = {}
    sources: dict[str, list[int]] = {}
    for row in step["documents"]:
        place = str(row.get("src", "")) + (f", line {row['loc']:,}" if isinstance(row.get("loc"), int) else "")
        source, tokens = source_of(row), tokens_of(row)
        key = (str(row["id"]), source, place)
        earlier = merged[key].tokens if key in merged else 0
        merged[key] = SeenDocument(*key, tokens + earlier, row.get("document_length"))
        counted = sources.setdefault(source, [0, 0])
        counted[0] += not earlier
        counted[1] += tokens
    ranked = sorted(merged.values(), key=lambda row: (-row.tokens, row.identity, row.place))
    last = DOCUMENTS_SHOWN + DOCUMENTS_FOLDED
    return Seen(
        step["step"],
        len(ranked),
        sum(row.tokens for row in ranked),
        ranked[:DOCUMENTS_SHOWN],
        ranked[DOCUMENTS_SHOWN:last],
        max(0, len(ranked) - last),
        sorted(((name, n, tokens) for name, (n, tokens) in sources.items()), key=lambda row: (-row[2], row[0])),
    )


def source_of(row: Mapping[str, Any]) -> str:
    """The source as the row names it, else the folder of its file under ``documents``."""
    if row.get("source"):
        return str(row["source"])
    parts = str(row.get("src", "")).split("/")
    if "documents" in parts:
        parts = parts[parts.index("documents") + 1 :]
    return parts[0] if len(parts) > 1 else ""


def tokens_of(row: Mapping[str, Any]) -> int:
    """Tokens of the document in the step: from the part ``[start, end)``, or as the row counts them."""
    part = row.get("document_tokens")
    return int(part[1]) - int(part[0]) if isinstance(part, list) else int(row["tokens"])


@dataclass(frozen=True)
class Generation:
    """A prompt, how the model went on, and the settings that the file names."""

    prompt: str
    text: str
    settings: Sequence[tuple[str, str]]


def generations(output: Output) -> list[Generation]:
    """Every file under ``generations/``, by name; one file may hold a list."""
    files = sorted((output.root / "generations").glob("*.json"))
    if not files:
        raise StageNotRunError("No text was generated yet: there is no generations/*.json in this folder.")
    result: list[Generation] = []
    for file in files:
        try:
            value = json.loads(file.read_bytes())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError("not valid JSON", where=f"generations/{file.name}", fix="make the file again") from error
        result.extend(generation(row) for row in (value if isinstance(value, list) else [value]))
    return result[:GENERATIONS]


def generation(row: Mapping[str, Any]) -> Generation:
    prompt, text = str(row["prompt"]), str(row["text"])
    settings = [
        (key, value if isinstance(value, str) else json.dumps(value))
        for key, value in row.items()
        if key not in ("prompt", "text", "format_version") and not isinstance(value, (list, dict)) and value is not None
    ]
    return Generation(prompt, text.removeprefix(prompt), settings)
