"""lm-evaluation-harness on local records: its own templates, one run, log-probabilities as numbers.

Run by the interpreter of the harness's environment: `python lm_eval_theirs.py PLAN.json`. The plan names a model
folder, tasks (each with the harness's own template, the files of its splits and what to report), shots and an output.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def write_tasks(folder: Path, tasks: list[dict[str, Any]], shots: int) -> None:
    """A template a task, which includes the harness's own and reads local files."""
    import lm_eval
    import yaml

    root = Path(lm_eval.__file__).parent / "tasks"
    for task in tasks:
        stated: dict[str, Any] = {
            "include": str(root / task["template"]),
            "task": task["name"],
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": task["files"]},
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in task["metrics"]
            ],
            "tag": None,
        }
        for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
            stated[key] = None
        stated["test_split"] = "test"
        if shots:
            stated |= {"fewshot_split": "shots", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": shots}
        (folder / f"{task['name']}.yaml").write_text(yaml.safe_dump(stated), encoding="utf-8")


def main(plan_path: str) -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    plan = json.loads(Path(plan_path).read_text(encoding="utf-8"))
    folder = Path(plan["work"]) / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["HF_HOME"] = str(Path(plan["work"]) / "home")
    write_tasks(folder, plan["tasks"], plan["shots"])
    import lm_eval
    import torch
    import transformers
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(1)
    names = [task["name"] for task in plan["tasks"]]
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": plan["model"], "dtype": "float32"},
        tasks=names,
        num_fewshot=plan["shots"] or None,
        batch_size=8,
        device="cpu",
        log_samples=True,
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )
    result = {
        name: {
            "metrics": {key.partition(",")[0]: value for key, value in found["results"][name].items() if "," in key},
            "samples": [
                {
                    "doc_id": sample["doc_id"],
                    "target": sample["target"],
                    "requests": list(sample["arguments"]),
                    "log_probabilities": [float(response[0][0]) for response in sample["resps"]],
                }
                for sample in sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
            ],
        }
        for name in names
    }
    versions = {"lm_eval": lm_eval.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    Path(plan["output"]).write_text(json.dumps({"versions": versions, "tasks": result}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
