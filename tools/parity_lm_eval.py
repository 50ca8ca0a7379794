"""Compare catwalk-eval with lm-evaluation-harness: prompts, log-probability of every request, accuracies.

`python tools/parity_lm_eval.py --lm-eval PYTHON --work DIR [--instances N] [--shots N,…] [TASK …]`, in the environment
that holds catwalk-eval; DATA_DIR names the real data.

Both score the same records with the same small random model and its real tokenizer: the harness by its own templates,
pointed at local files, catwalk-eval in its dialect `lm-eval` with the boundary `joint`. Tasks whose data sets are not
at hand use records written for this comparison. Prints a line a task and what explains each difference; the exit status
is 1 where something is left over.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.lm_eval_records import RECORDS

TOOLS = Path(__file__).resolve().parent
TOLERANCE = 1e-4  # between log-probabilities of a request
SUBJECTS = ("abstract_algebra", "astronomy", "us_foreign_policy")
TEMPLATES = {
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "copa": "super_glue/copa/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "piqa": "piqa/piqa.yaml",
    "sciq": "sciq/sciq.yaml",
    "winogrande": "winogrande/default.yaml",
    "csqa": "commonsense_qa/default.yaml",
    "socialiqa": "siqa/siqa.yaml",
    "mmlu_mc": "mmlu/default/mmlu_{subject}.yaml",
    "mmlu_rc": "mmlu/continuation/mmlu_{subject}.yaml",
    "rte": "glue/rte/default.yaml",
    "mrpc": "glue/mrpc/default.yaml",
    "wnli": "glue/wnli/default.yaml",
    "sst2": "glue/sst2/default.yaml",
    "qnli": "glue/qnli/default.yaml",
    "qqp": "glue/qqp/default.yaml",
    "commitment_bank": "super_glue/cb/default.yaml",
    "wic": "super_glue/wic/default.yaml",
    "wsc": "super_glue/wsc/default.yaml",
    "headqa_en": "headqa/headqa_en.yaml",
    "logiqa": "logiqa/logiqa.yaml",
    "mathqa": "mathqa/mathqa.yaml",
}
METRICS = {"acc": "acc_raw", "acc_norm": "acc_per_char_bare"}
Records = list[dict[str, Any]]


@dataclass
class Verdict:
    """What the comparison of one task found."""

    task: str
    instances: int = 0
    requests: int = 0
    other_prompts: int = 0
    apart: float = 0.0
    """Largest difference of two log-probabilities with equal prompts."""
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Ours and theirs."""
    notes: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def read(path: Path) -> Records:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def hellaswag_records(path: Path) -> Records:
    """Records whose prompts are those of the published requests: the data set's own are not at hand."""
    records = []
    for row in read(path):
        if row["idx"] == 0 and row["doc_id"] < 1_000_000:
            activity, _, context = row["doc"]["query"].partition(": ")
            parts = {"ind": row["doc"]["ind"], "activity_label": activity, "ctx_a": context, "ctx_b": ""}
            records.append({**parts, "endings": row["doc"]["choices"], "label": str(row["doc"]["gold"])})
    return records


def records_of(task: str, data: Path) -> Records:
    """The records of a task in the shape of the data set that the harness reads."""
    if task in RECORDS:
        return RECORDS[task]
    if task == "hellaswag":
        return hellaswag_records(data / task / "rc_0shot_from_5shot" / "requests.jsonl.gz")
    records = read(data / task / "source" / "validation.jsonl.gz")
    if task == "boolq":  # the harness reads SuperGLUE's edition
        return [{**record, "label": int(record["answer"])} for record in records]
    return records


def prepare(work: Path, data: Path, tasks: Sequence[str], instances: int, shots: int) -> list[dict[str, Any]]:
    """Write the records where both look; the harness's tasks. The last records are the examples of the others."""
    theirs: list[dict[str, Any]] = []
    for task in tasks:
        if task.startswith("mmlu"):
            theirs += prepare_mmlu(work, data, task, instances)
            continue
        records = records_of(task, data)
        examples = records[-max(1, shots) :]
        asked = records[: -max(1, shots)][:instances] if shots else records[:instances]
        folder = work / "data" / task / "source"
        split = "test"
        write(folder / f"{split}.jsonl", asked)
        write(folder / "train.jsonl", examples)
        metrics = ["acc"] if task == "winogrande" else list(METRICS)
        files = {"test": str(folder / f"{split}.jsonl"), "shots": str(folder / "train.jsonl")}
        theirs.append({"name": f"local_{task}", "template": TEMPLATES[task], "files": files, "metrics": metrics})
    return theirs


def prepare_mmlu(work: Path, data: Path, task: str, instances: int) -> list[dict[str, Any]]:
    """The harness has a task a subject, catwalk-eval one task."""
    folder = work / "data" / "mmlu"
    test, dev = (read(data / "mmlu" / f"{split}.jsonl.gz") for split in ("validation", "dev"))
    chosen = [[row for row in test if row["subject"] == subject][:instances] for subject in SUBJECTS]
    write(folder / "test.jsonl", [row for rows in chosen for row in rows])
    write(folder / "dev.jsonl", dev)
    theirs = []
    for subject, rows in zip(SUBJECTS, chosen, strict=True):
        files = {
            "test": folder / "subjects" / f"{subject}.jsonl",
            "shots": folder / "subjects" / f"{subject}-dev.jsonl",
        }
        write(files["test"], rows)
        write(files["shots"], [row for row in dev if row["subject"] == subject])
        theirs.append(
            {
                "name": f"local_{task}_{subject}",
                "template": TEMPLATES[task].format(subject=subject),
                "files": {split: str(path) for split, path in files.items()},
                "metrics": list(METRICS),
            }
        )
    return theirs


def make_model(folder: Path, tokenizer: Path) -> None:
    """A small random model with a real tokenizer, as both read it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=50304, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=2048, initializer_range=0.2, bos_token_id=None,
        eos_token_id=50279, pad_token_id=1,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": 2048}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def run_theirs(python: Path, plan: dict[str, Any], work: Path) -> dict[str, Any]:
    """The harness in its own environment; SystemExit with the end of its output where it fails."""
    path = work / "plan.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(python), str(TOOLS / "parity" / "lm_eval_theirs.py"), str(path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"lm-eval failed:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(Path(plan["output"]).read_text(encoding="utf-8"))
    return found


def run_ours(work: Path, model: Path, tasks: Sequence[str], shots: int) -> dict[str, Any]:
    """catwalk-eval's predictions and metrics, by task."""
    from catwalk_eval.config import RunConfig
    from catwalk_eval.requests import load_task
    from catwalk_eval.runner import run
    from catwalk_eval.shots import Asked

    output = work / "predictions"
    way = "first" if shots else None
    config = RunConfig(
        model=str(model), tasks=",".join(tasks), output=output, data=work / "data", dialect="lm-eval", boundary="joint",
        device="cpu", dtype="float32", split="test", shots=shots, shots_from=way,
    )  # fmt: skip
    metrics = run(config)["tasks"]
    found = {}
    for task in tasks:
        built = load_task(task, work / "data", "lm-eval", None, shots=Asked(count=shots, source=way), split="test")
        rows = read(output / task / "predictions.jsonl.gz")
        found[task] = {"metrics": metrics[task]["metrics"], "instances": built.instances, "rows": rows}
    return found


def compare(task: str, ours: dict[str, Any], theirs: list[dict[str, Any]]) -> Verdict:
    """One task of ours with the harness's one, or with its tasks of the same subjects in their order."""
    verdict = Verdict(task)
    samples = [sample for part in theirs for sample in part["samples"]]
    rows = iter(ours["rows"])
    if len(samples) != len(ours["instances"]):
        verdict.missed.append(f"{len(ours['instances'])} instances, {len(samples)} in lm-eval")
        return verdict
    spaced = 0
    decided: dict[str, list[tuple[float, float]]] = {name: [] for name in METRICS}
    for instance, sample in zip(ours["instances"], samples, strict=True):
        verdict.instances += 1
        own_rows = [next(rows) for _ in instance.contexts]
        count = len(instance.contexts)
        pairs = list(zip(instance.contexts, instance.continuations, strict=True))
        if pairs != [tuple(pair) for pair in sample["requests"][:count]]:
            verdict.other_prompts += 1
            verdict.missed.append(f"instance {instance.doc_id}: {pairs[0]!r} is {sample['requests'][0]!r} in lm-eval")
            continue
        for (context, _), row, value in zip(pairs, own_rows, sample["log_probabilities"], strict=False):
            verdict.requests += 1
            difference = abs(row["log_probability"] - value)
            if context != context.rstrip() and difference > TOLERANCE:
                spaced += 1
                continue
            verdict.apart = max(verdict.apart, difference)
            if difference > TOLERANCE:
                verdict.missed.append(
                    f"instance {instance.doc_id}: log-probability {row['log_probability']} is {value}"
                )
        for name, lengths in (("acc", None), ("acc_norm", [len(text) - 1 for _, text in pairs])):
            scores = [row["log_probability"] for row in own_rows]
            other = sample["log_probabilities"][:count]
            decided[name].append((credit(scores, lengths, instance.label), first(other, lengths, instance.label)))
    if spaced:
        verdict.notes.append(
            f"{spaced} requests end their context in a space, which lm-eval scores as part of the answer"
        )
    judge(verdict, decided, ours, theirs)
    return verdict


def credit(scores: Sequence[float], lengths: Sequence[int] | None, label: int) -> float:
    """Our accuracy of an instance: a tie of k best counts 1/k."""
    values = [score / (1 if lengths is None else lengths[k]) for k, score in enumerate(scores)]
    return (values[label] == max(values)) / values.count(max(values))


def first(scores: Sequence[float], lengths: Sequence[int] | None, label: int) -> float:
    """The harness's: the first of the best."""
    values = [score / (1 if lengths is None else lengths[k]) for k, score in enumerate(scores)]
    return float(values.index(max(values)) == label)


def judge(
    verdict: Verdict, decided: dict[str, list[tuple[float, float]]], ours: dict[str, Any], theirs: list[dict[str, Any]]
) -> None:
    """Accuracies as both report them; instances that differ are explained by ties or missed."""
    sizes = [len(part["samples"]) for part in theirs]
    for name, own_name in METRICS.items():
        if any(name not in part["metrics"] for part in theirs):
            verdict.notes.append(f"no {name}: lm-eval divides by the length of the context there")
            continue
        other = sum(part["metrics"][name] * size for part, size in zip(theirs, sizes, strict=True)) / sum(sizes)
        own = ours["metrics"][own_name]["value"]
        verdict.metrics[name] = (own, other)
        ties = sum(0 < mine < 1 or (mine != yours and mine > 0) for mine, yours in decided[name])
        if abs(own - other) <= 1e-9:
            continue
        explained = sum(mine for mine, _ in decided[name]) / len(decided[name])
        if (
            abs(explained - own) <= 1e-9
            and ties
            and all(mine == yours or 0 < mine < 1 for mine, yours in decided[name])
        ):
            verdict.notes.append(f"{name}: {ties} ties, which lm-eval gives to the first choice and we share")
        else:
            verdict.missed.append(f"{name} {own} is {other} in lm-eval")


def as_table(verdicts: Sequence[Verdict]) -> list[str]:
    """A line a task, and lines of explanation."""
    head = f"{'task':16} {'n':>4} {'requests':>8} {'other prompts':>13} {'apart':>8}  {'acc ours/theirs':15}  acc_norm"
    lines = [head]
    for verdict in verdicts:
        cells = ["{:.4f}/{:.4f}".format(*verdict.metrics[name]) if name in verdict.metrics else "-" for name in METRICS]
        lines.append(
            f"{verdict.task:16} {verdict.instances:4} {verdict.requests:8} {verdict.other_prompts:13} "
            f"{verdict.apart:8.1e}  {cells[0]:15}  {cells[1]}"
        )
        lines += [f"    {note}" for note in verdict.notes]
        lines += [f"    MISSED: {miss}" for miss in verdict.missed[:5]]
        lines += [f"    … and {len(verdict.missed) - 5} more"] if len(verdict.missed) > 5 else []
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 where nothing is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lm-eval", required=True, type=Path, help="Python with lm-eval")
    parser.add_argument("--work", required=True, type=Path, help="folder to work in; its content is replaced")
    parser.add_argument("--instances", type=int, default=25, help="of each task (and subject)")
    parser.add_argument("--shots", default="0,2", help="numbers of examples to compare with, separated by commas")
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TEMPLATES)} (default: all)")
    options = parser.parse_args(arguments)
    unknown = set(options.tasks) - set(TEMPLATES)
    if unknown:
        parser.error(f"no comparison of {', '.join(sorted(unknown))}")
    data = Path(os.environ["DATA_DIR"])
    work = options.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    model = work / "model"
    make_model(model, data / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json")
    missed = 0
    for shots in map(int, options.shots.split(",")):
        begin = time.perf_counter()
        tasks = [
            task for task in options.tasks or TEMPLATES if not (shots and len(RECORDS.get(task, range(99))) <= shots)
        ]
        place = work / f"shots-{shots}"
        plan = {
            "work": str(place), "model": str(model), "shots": shots, "output": str(place / "theirs.json"),
            "tasks": prepare(place, data / "eval", tasks, options.instances, shots),
        }  # fmt: skip
        theirs = run_theirs(options.lm_eval.absolute(), plan, place)
        ours = run_ours(place, model, tasks, shots)
        verdicts = []
        for task in tasks:
            known = {f"local_{task}", *(f"local_{task}_{subject}" for subject in SUBJECTS)}
            names = [name for name in theirs["tasks"] if name in known]
            verdicts.append(compare(task, ours[task], [theirs["tasks"][name] for name in names]))
        versions = ", ".join(f"{name} {version}" for name, version in theirs["versions"].items())
        print(f"{shots} examples ({versions}; {time.perf_counter() - begin:.0f} s)")
        print("\n".join(as_table(verdicts)))
        missed += sum(len(verdict.missed) for verdict in verdicts)
    print(f"{missed} differences are not explained" if missed else "nothing is left unexplained")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
