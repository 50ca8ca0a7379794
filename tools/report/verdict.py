"""The first thing on the page: what came out, in plain words, never stronger than the intervals allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import words
from .perplexity import Difference, Line, no_interval
from .perplexity import Perplexity as PerplexityTable
from .record import Commands
from .tasks import Task
from .training import Model

BASELINE_NAMES = {"unigram": "a unigram model of the same tokens", "xz": "the compressor xz"}
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """Sentences and tiles."""

    sentences: Sequence[str]
    tiles: Sequence[Tile]


def judge(
    model: Model | None, commands: Commands | None, perplexity: PerplexityTable | None, tasks: Sequence[Task] | None
) -> Verdict:
    """What the parts that are there allow to say."""
    sentences: list[str] = []
    tiles: list[Tile] = []
    if model is None:
        sentences.append("No model was trained in this folder yet.")
    else:
        sentences.append(training_sentence(model, commands))
        tiles.extend(training_tiles(model, commands))
    overall = perplexity.overall if perplexity else None
    if overall is None or "model" not in overall.results:
        sentences.extend(["Its perplexity on held-out text was not measured yet."] if model else [])
    else:
        sentences.append(perplexity_sentence(overall))
        tiles.append(perplexity_tile(overall))
    cloze = next((task for task in tasks or () if "cloze" in task.name), None)
    chosen = cloze or (tasks[0] if tasks else None)
    if chosen is None or chosen.primary is None:
        sentences.extend(["It was not tested on a task yet."] if model else [])
    elif chosen.primary_name != "bits_per_byte":
        sentences.extend(task_sentences(chosen))
        tiles.append(task_tile(chosen))
    return Verdict(sentences, tiles)


def training_sentence(model: Model, commands: Commands | None) -> str:
    text = f"A model of {words.large(model.parameters)} parameters"
    text += f" read {words.large(model.tokens_seen)} tokens" if model.tokens_seen is not None else " was trained"
    if model.training_seconds is not None:
        text += f" in {words.duration(model.training_seconds)}"
    if commands is not None:
        text += f"; the whole recipe, from files to figures, took {words.duration(commands.seconds)}"
    return text + "."


def training_tiles(model: Model, commands: Commands | None) -> list[Tile]:
    tiles = [
        Tile("Parameters", words.large(model.parameters), f"{words.integer(model.parameters)} numbers"),
        Tile(
            "Tokens seen",
            words.large(model.tokens_seen),
            "" if model.step is None else f"{words.plural(model.step, 'step')}",
        ),
    ]
    if commands is not None:
        train = "" if model.training_seconds is None else f"training {words.duration(model.training_seconds)}"
        tiles.append(Tile("Time", words.duration(commands.seconds), train))
    return tiles


def perplexity_sentence(overall: Line) -> str:
    row = overall.results["model"]
    text = (
        f"On {words.size(row['bytes'])} of held-out text it needs {words.decimal(row['bits_per_byte'])} bits per byte"
        f"{spoken(row['bits_per_byte_low'], row['bits_per_byte_high'])}"
    )
    comparisons = [
        compared(name, overall.results[name]["bits_per_byte"], overall.differences.get(name))
        for name in BASELINE_NAMES
        if name in overall.results
    ]
    return text + ("" if not comparisons else ": " + ", and ".join(comparisons)) + "."


def spoken(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95 % interval {words.interval(low, high)})"


def compared(name: str, value: float, difference: Difference | None) -> str:
    """``1.477 (1.44 to 1.52) fewer than a unigram model, which needs 3.413``, as far as the interval allows."""
    who = BASELINE_NAMES[name]
    if difference is None:
        return f"{who} needs {words.decimal(value)} (not compared document by document)"
    size, way = words.decimal(abs(difference.value)), "fewer" if difference.value < 0 else "more"
    if difference.low is None or difference.high is None:
        return f"{size} {way} than {who}, which needs {words.decimal(value)} ({no_interval(difference.note)})"
    if difference.verdict == "not clear":
        span = words.interval(difference.low, difference.high)
        return f"no clear difference from {who}, which needs {words.decimal(value)} (difference {span})"
    near, far = sorted((abs(difference.low), abs(difference.high)))
    span = words.interval(near, far)
    return f"{size} ({span}) {way} than {who}, which needs {words.decimal(value)}"


def perplexity_tile(overall: Line) -> Tile:
    row = overall.results["model"]
    others = ", ".join(
        f"{name} {words.decimal(overall.results[name]['bits_per_byte'])}"
        for name in BASELINE_NAMES
        if name in overall.results
    )
    return Tile("Bits per byte", words.decimal(row["bits_per_byte"]), others)


def task_sentences(task: Task) -> list[str]:
    """The primary accuracy, then what it is worth beside each baseline."""
    assert task.primary is not None
    value, low, high = task.primary["value"], task.primary["low"], task.primary["high"]
    span = "" if low is None or high is None else f" (95 % interval {words.interval(100 * low, 100 * high, 1)} %)"
    first = (
        f"On {words.label(task.name)} it picks the right one of {task.choices or 'several'} choices in "
        f"{words.percent(value)} of {words.integer(task.instances)}{span}."
    )
    parts = []
    for kind, name in (
        ("chance", "chance"),
        ("majority", "always the most frequent place"),
        ("longest", "always the longest choice"),
        ("unigram", "the unigram model"),
    ):
        row = task.raw_baselines.get(kind)
        if row is not None:
            p_value = task.chance_p_value if kind == "chance" else row.get("p_value")
            parts.append(f"{name} {words.percent(row['value'])}{standing(value - row['value'], p_value)}")
    return [first, "Baselines on the same questions: " + "; ".join(parts) + "."]


def standing(difference: float, p_value: float | None) -> str:
    if p_value is None:
        return ""
    if p_value >= SIGNIFICANT:
        return f" (no clear difference, {words.p_value(p_value)})"
    return f" ({'beaten' if difference > 0 else 'not beaten, worse'}, {words.p_value(p_value)})"


def task_tile(task: Task) -> Tile:
    assert task.primary is not None
    low, high = task.primary["low"], task.primary["high"]
    chance = task.raw_baselines.get("chance")
    detail = "" if low is None or high is None else f"{words.interval(100 * low, 100 * high, 1)} %"
    if chance is not None:
        detail += ("; " if detail else "") + f"chance {words.percent(chance['value'], 0)}"
    return Tile(f"Accuracy, {words.label(task.name, 20)}", words.percent(task.primary["value"]), detail)
