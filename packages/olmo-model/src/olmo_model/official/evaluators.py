"""Which data the labels of OLMo's in-loop evaluators mean: tasks of a requests folder, sources of a windows folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_json

# labels of allenai/OLMo, olmo/eval/downstream.py, and the tasks of `catwalk-eval tasks`
TASKS: dict[str, str] = {
    "piqa": "piqa",
    "hellaswag": "hellaswag",
    "winogrande": "winogrande",
    "openbook_qa": "openbookqa",
    "boolq": "boolq",
    "sciq": "sciq",
    "arc_easy": "arc_easy",
    "arc_challenge": "arc_challenge",
    "copa": "copa",
    "commonsense_qa": "csqa",
    "social_iqa": "socialiqa",
}
# sets of texts in allenai/OLMo, configs/official, and the sources that stand behind them
V3_SOURCES = (
    "c4_en", "dolma_books", "dolma_common-crawl", "dolma_pes2o", "dolma_reddit", "dolma_stack", "dolma_wiki", "ice",
    "m2d2_s2orc", "pile", "wikitext_103",
)  # fmt: skip
V2_SOURCES = (
    "4chan", "c4_100_domains", "c4_en", "gab", "ice", "m2d2_s2orc", "m2d2_wiki", "manosphere", "mc4_en", "pile", "ptb",
    "twitterAEE", "wikitext_103",
)  # fmt: skip
SETS: dict[str, tuple[str, ...]] = {
    "v3-small-ppl-validation": V3_SOURCES,
    "all-small-ppl-validation": V3_SOURCES,
    "v2-small-ppl-validation": V2_SOURCES,
}
AFFIXES = re.compile(r"^(?:v\d+-small-)?(.+?)(?:-(?:validation|val|test))?$")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the evaluators need, and labels that nothing here makes data for."""

    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    windows: str | None
    requests: str | None
    unknown: tuple[str, ...]


def source_of(label: str) -> str:
    """The source of one text: ``v3-small-c4_en-validation`` and ``c4_en-validation`` are ``c4_en``."""
    match = AFFIXES.match(label)
    assert match is not None
    return match[1]


def sources_of(evaluator: Mapping[str, Any]) -> tuple[str, ...]:
    """Sources of an evaluator of type lm: those of its data sets, else of its label."""
    datasets = evaluator.get("data.datasets")
    if datasets:
        return tuple(source_of(label) for label in datasets)
    return SETS.get(evaluator["label"], (source_of(evaluator["label"]),))


def windows_folders(evaluator: Mapping[str, Any]) -> list[str]:
    """Folders of windows that an evaluator names as its paths."""
    paths = list(evaluator.get("data.paths") or [])
    for value in (evaluator.get("data.datasets") or {}).values():
        paths += value if isinstance(value, list) else [value]
    return [str(path) for path in paths if (Path(str(path)) / "manifest.json").is_file()]


def wanted(
    evaluators: Sequence[Mapping[str, Any]], *, windows: str | None, requests: str | None, length: int, where: str
) -> Wanted:
    """What the evaluators mean. A label whose data is not there is a UserError with the command that makes it.

    ``windows`` and ``requests`` are the folders the user gave; ``length`` is the model's longest input.
    """
    sources: list[str] = []
    tasks: list[str] = []
    unknown: list[str] = []
    folders: list[str] = [windows] if windows else []
    without: list[str] = []
    missing: list[str] = []
    held = _tasks_held(requests)
    for evaluator in evaluators:
        label = evaluator["label"]
        if evaluator.get("type", "lm") == "lm":
            sources += sources_of(evaluator)
            if not windows:
                folders += windows_folders(evaluator)
                without += [] if windows_folders(evaluator) else [label]
        elif label in held or TASKS.get(label) in held:
            tasks.append(label if label in held else TASKS[label])
        elif label in TASKS:
            missing.append(label)
        else:
            unknown.append(label)
    if missing:
        raise _need_requests(missing, requests, where)
    if without:
        raise UserError(
            f"the evaluator {without[0]} needs windows of {', '.join(sources_of_label(without[0], evaluators))}",
            where=where,
            fix=f"make them with `paloma-ppl windows --suite SUITE --tokenizer TOKENIZER --max-length {length} "
            "--output WINDOWS` and give --evaluation.windows WINDOWS, or train without: --evaluators=[]",
        )
    if len(set(folders)) > 1:
        raise UserError(
            "the evaluators name several folders of windows: " + ", ".join(sorted(set(folders))),
            where=where,
            fix="make one of a suite that holds all sources, and give --evaluation.windows WINDOWS",
        )
    return Wanted(
        sources=tuple(dict.fromkeys(sources)),
        tasks=tuple(dict.fromkeys(tasks)),
        windows=folders[0] if folders else None,
        requests=requests if tasks else None,
        unknown=tuple(unknown),
    )


def sources_of_label(label: str, evaluators: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Sources of the evaluator with this label."""
    return sources_of(next(evaluator for evaluator in evaluators if evaluator["label"] == label))


def _tasks_held(requests: str | None) -> tuple[str, ...]:
    place = Path(requests or "") / "manifest.json"
    if requests is None or not place.is_file():
        return ()
    manifest = read_json(place)
    tasks = manifest.get("tasks") if isinstance(manifest, dict) else None
    return tuple(task for task in tasks if isinstance(task, str)) if isinstance(tasks, list) else ()


def _need_requests(labels: Sequence[str], requests: str | None, where: str) -> UserError:
    tasks = [TASKS[label] for label in labels]
    what = f"the evaluators {', '.join(labels)} need requests"
    return UserError(
        what if requests is None else f"{what}, which {requests} does not hold",
        where=where,
        fix=f"make them with `catwalk-eval requests --tasks {','.join(tasks)} --data TASK-DATA --tokenizer TOKENIZER "
        "--output REQUESTS` and give --evaluation.requests REQUESTS, or train without: --evaluators=[]",
    )
