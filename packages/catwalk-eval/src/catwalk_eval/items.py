"""Every item of a report, as the page's script reads it: texts, scores, who is right."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .compare import check_same
from .errors import UserError
from .predictions import Run
from .requests import ROWS as REQUESTS
from .requests import read_request_rows
from .scores import ACCURACIES, Choices, predict
from .task import Instance

ESCAPED = re.compile("[<>&\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
MOST_RUNS = 4  # of more runs the first and the last have their items shown


def shown_runs(runs: Sequence[Run]) -> list[int]:
    """Places of the runs whose items are shown."""
    return list(range(len(runs))) if len(runs) <= MOST_RUNS else [0, len(runs) - 1]


def task_blocks(runs: Sequence[Run]) -> list[tuple[str, dict[str, Any]]]:
    """``(task, block)``: what the page's browser needs of each task, of the runs that hold the same items of it."""
    places = shown_runs(runs)
    names = dict.fromkeys(task for place in places for task in runs[place].manifest["tasks"])
    return [(name, task_block(name, runs, [k for k in places if name in runs[k].manifest["tasks"]])) for name in names]


def task_block(task: str, runs: Sequence[Run], places: Sequence[int]) -> dict[str, Any]:
    """Items of a task. A run on other items than the first that has the task is left out, and the note says so."""
    sides: list[tuple[int, Mapping[str, Any], Choices]] = []
    notes = []
    for place in places:
        run = runs[place]
        side = run.task(task)
        if sides:
            try:
                check_same(task, runs[sides[0][0]], run, (sides[0][1], sides[0][2]), side)
            except UserError as error:
                notes.append(f"{run.name} is not shown: {error.what}.")
                continue
        sides.append((place, *side))
    texts = texts_of(runs[sides[0][0]], task, sides[0][2])
    if texts is None:
        notes.append("Prompts and choices were not stored with these predictions.")
    about, choices = sides[0][1], sides[0][2]
    metric = about["primary_metric"] if about["primary_metric"] in ACCURACIES else "acc_raw"
    prefix = common_prefix([context for one in texts or [] for context in set(one.contexts)])
    items: list[dict[str, Any]] = [
        {
            "id": native if native is not None else int(doc_id),
            "label": int(label),
            "domain": domain,
            "cluster": cluster,
            "truncated": False,
            "scores": [],
            "log_probabilities": [],
            "best": [],
            "credits": [],
        }
        for native, doc_id, label, domain, cluster in zip(
            choices.native_id, choices.doc_id, choices.label, choices.domain, choices.cluster, strict=True
        )
    ]
    for item, one in zip(items, texts or (), strict=bool(texts)):
        contexts = one.contexts if len(set(one.contexts)) > 1 else one.contexts[:1]
        item["contexts"] = [context[len(prefix) :] for context in contexts]
        item["choices"] = list(one.continuations)
    for _, _, columns in sides:
        add_side(items, columns, metric)
    return {
        "metric": metric, "prefix": prefix, "note": " ".join(notes), "runs": [place for place, *_ in sides],
        "items": items,
    }  # fmt: skip


def common_prefix(texts: Sequence[str]) -> str:
    """The examples that stand before every question: what all texts begin with, up to its last blank line."""
    if not texts:
        return ""
    first, last = min(texts), max(texts)
    length = next((k for k, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first.rfind("\n\n", 0, length) + 2] if "\n\n" in first[:length] else ""


def add_side(items: Sequence[dict[str, Any]], choices: Choices, metric: str) -> None:
    """What one run says of each item."""
    scores = ACCURACIES[metric](choices)
    prediction = predict(choices, scores)
    best, rounded = prediction.best.tolist(), [round(value, 4) for value in scores.tolist()]
    sums, cut = [round(value, 3) for value in choices.log_probability.tolist()], choices.truncated.tolist()
    ends = (choices.starts + choices.counts).tolist()
    credits_ = [round(value, 4) for value in prediction.credits.tolist()]
    for item, start, end, credit in zip(items, choices.starts.tolist(), ends, credits_, strict=True):
        item["scores"].append(rounded[start:end])
        item["log_probabilities"].append(sums[start:end])
        item["best"].append([k for k, is_best in enumerate(best[start:end]) if is_best])
        item["credits"].append(credit)
        item["truncated"] = item["truncated"] or any(cut[start:end])


def texts_of(run: Run, task: str, choices: Choices) -> tuple[Instance, ...] | None:
    """Instances with their texts, as stored beside the predictions; None where they are not, or are others."""
    path = run.root / task / REQUESTS
    if not path.is_file():
        return None
    instances, _ = read_request_rows(path, None)
    same = [one.doc_id for one in instances] == choices.doc_id.tolist()
    if not same or [len(one.contexts) for one in instances] != choices.counts.tolist():
        raise UserError(
            "the requests are not those of the predictions", where=path, fix="run the evaluation again, or remove them"
        )
    return instances


def inert(value: object) -> str:
    """JSON that can stand in a script element of a page: no ``<``, no ``&``, no separator or sign that turns a line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
