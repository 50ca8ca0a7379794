"""A run in the files of lm-evaluation-harness 0.4, for dashboards that read those.

``OUTPUT/MODEL/results_TIME.json`` and ``OUTPUT/MODEL/samples_TASK_TIME.jsonl``. Log-probabilities in samples are texts,
as its readers expect. Its names stand for ours where they mean the same; ours are added under their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .config import ExportConfig
from .errors import UserError
from .files import atomic_write, read_json, write_json
from .items import texts_of
from .metrics import task_metrics
from .predictions import Run, load_runs
from .provenance import recorded
from .scores import ACCURACIES, LOWER_IS_BETTER, Choices, applies, predict
from .task import Instance

NAMES = {
    "acc_raw": "acc",
    "acc_per_char_bare": "acc_norm",
    "acc_per_byte_bare": "acc_bytes",
    "acc_uncond_empty": "acc_mutual_info",
}
"""Our metrics that lm-evaluation-harness has under another name; the others keep theirs."""
FILTER = "none"
log = logging.getLogger(__name__)


def export(root: Path, config: ExportConfig) -> list[Path]:
    """Write the files of one run; returns them, results first. A run without its stored requests is a UserError."""
    (run,) = load_runs([root])
    model = run.manifest["model"]
    folder = config.output / sanitized(model["name"])
    time = finished(root)
    stamp = time.replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    with recorded("catwalk-eval", "export", folder=folder, config=config, inputs=[root]) as record:
        tasks = {}
        for task in run.manifest["tasks"]:
            about, choices = run.task(task)
            instances = texts_of(run, task, choices)
            if instances is None:
                raise UserError(
                    "the prompts were not stored with these predictions",
                    where=root / task,
                    fix="run the evaluation again",
                )
            path = folder / f"samples_{task}_{stamp}.jsonl"
            hashes = []
            with atomic_write(path) as stream:
                for sample in samples(instances, choices):
                    hashes.append(sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"])
                    stream.write(json.dumps(sample, ensure_ascii=False).encode() + b"\n")
            record.outputs.append(path)
            tasks[task] = about, task_metrics(about, choices, where=root / task), text_hash("".join(hashes))
        path = folder / f"results_{stamp}.json"
        write_json(path, results(run, tasks, time))
        record.outputs.insert(0, path)
        record.counts = {"tasks": len(tasks)}
    log.info("%s: written", path)
    return record.outputs


def finished(root: Path) -> datetime:
    """When the run ended, from its newest record; now, where it has none."""
    found = []
    for path in root.glob("provenance/*-run-*.json"):
        row = read_json(path)
        try:
            found.append(datetime.fromisoformat(row["finished"]).astimezone(UTC))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("the record has no time of finishing", where=path, fix="remove the record") from error
    return max(found, default=datetime.now(UTC))


def sanitized(name: str) -> str:
    """A model's name as a folder: lm-evaluation-harness replaces what paths cannot hold."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name)


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def results(
    run: Run, tasks: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], str]], time: datetime
) -> dict[str, Any]:
    """The content of results_TIME.json."""
    manifest = run.manifest
    name = manifest["model"]["name"]
    rows: dict[str, Any] = {}
    better: dict[str, Any] = {}
    for task, (_, metrics, _) in tasks.items():
        row: dict[str, Any] = {"name": task, "alias": task, "sample_len": metrics["instances"]}
        for metric, value in metrics["metrics"].items():
            known = NAMES.get(metric, metric)
            row[f"{known},{FILTER}"] = value["value"]
            row[f"{known}_stderr,{FILTER}"] = "N/A" if value["standard_error"] is None else value["standard_error"]
        rows[task] = row
        better[task] = {NAMES.get(metric, metric): metric not in LOWER_IS_BETTER for metric in metrics["metrics"]}
    return {
        "results": rows,
        "group_subtasks": {task: [] for task in tasks},
        "configs": {
            task: {
                "task": task,
                "output_type": "multiple_choice",
                "num_fewshot": about["shots"],
                "metric_list": [
                    {"metric": metric, "aggregation": "mean", "higher_is_better": up}
                    for metric, up in better[task].items()
                ],
                "metadata": {"dialect": about["dialect"], "primary_metric": about["primary_metric"]},
            }
            for task, (about, _, _) in tasks.items()
        },
        "versions": dict.fromkeys(tasks, manifest["format_version"]),
        "n-shot": {task: about["shots"] for task, (about, _, _) in tasks.items()},
        "higher_is_better": better,
        "n-samples": {
            task: {"original": metrics["instances"], "effective": metrics["instances"]}
            for task, (_, metrics, _) in tasks.items()
        },
        "config": {
            "model": "catwalk-eval",
            "model_args": f"pretrained={name},dtype={manifest.get('dtype')}",
            "model_dtype": manifest.get("dtype"),
            "model_sha": manifest["model"].get("digest"),
            "batch_size": None,
            "batch_sizes": [],
            "device": None,
            "use_cache": None,
            "limit": None,
            "bootstrap_iters": 0,
            "gen_kwargs": None,
        },
        "git_hash": None,
        "date": time.timestamp(),
        "max_length": manifest.get("maximum_length"),
        "task_hashes": {task: digest for task, (_, _, digest) in tasks.items()},
        "model_source": "catwalk-eval",
        "model_name": name,
        "model_name_sanitized": sanitized(name),
        "chat_template": None,
        "system_instruction": None,
    }


def samples(instances: tuple[Instance, ...], choices: Choices) -> Iterator[dict[str, Any]]:
    """The lines of samples_TASK_TIME.jsonl, one an instance."""
    credits_ = {}
    for metric, known in NAMES.items():
        if applies(metric, choices):
            credits_[known] = predict(choices, ACCURACIES[metric](choices)).credits.tolist()
    sums, greedy = choices.log_probability.tolist(), choices.greedy.tolist()
    for number, (instance, start) in enumerate(zip(instances, choices.starts.tolist(), strict=True)):
        places = range(start, start + len(instance.contexts))
        answers = [[str(sums[place]), str(greedy[place])] for place in places]
        pairs = zip(instance.contexts, instance.continuations, strict=True)
        yield {
            "doc_id": instance.doc_id,
            "doc": instance.doc,
            "target": str(instance.label),
            "arguments": {
                f"gen_args_{k}": {"arg_0": context, "arg_1": text} for k, (context, text) in enumerate(pairs)
            },
            "resps": [[answer] for answer in answers],
            "filtered_resps": answers,
            "filter": FILTER,
            "metrics": list(credits_),
            "doc_hash": text_hash(json.dumps(instance.doc, indent=2, ensure_ascii=False)),
            "prompt_hash": text_hash(instance.contexts[0]),
            "target_hash": text_hash(str(instance.label)),
            **{known: values[number] for known, values in credits_.items()},
        }
