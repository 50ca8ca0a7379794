"""What the sides of the comparison with ai2-olmo wrote, laid beside each other; needs numpy alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import olmo_cases as cases

LOGITS, GRADIENTS = 1e-5, 1e-4  # absolute, with logits of size 1; relative, tensor by tensor
RATES = 1e-12  # relative, in float64
TRAINED = {
    "train/CrossEntropyLoss": ("loss of every step", 1e-4),
    "train/ZLoss": ("z-loss of every step", 1e-6),
    "optim/learning_rate": ("learning rate of every step, relative", RATES),
    "optim/total_grad_norm": ("gradient norm of every step, relative", 1e-4),
}
# A sign of nearly nothing turns with its last bit, and LionW then moves that weight two learning rates apart: until the
# first has turned its steps are as close as those of AdamW, which the first steps show; later ten times less close.
FIRST_STEPS, FIRST_LOSSES, TURNED_SIGNS = 20, 1e-5, 10
DEVIATIONS = 4.5  # of a standard deviation's own error, and of a mean's; one in 150,000 lies beyond
KOLMOGOROV = 2.3  # limit of the scaled two-sample statistic; one in 20,000 lies beyond
EXTREME = 0.02  # relative difference of the largest numbers of two cut distributions of 10,000 and more
# olmo-model's runs: folder, what it is told, and the steps before its first and up to its last
RUNS = (
    ("run", "", 0, cases.STEPS),
    ("run-official", ", OLMo's file", 0, cases.STEPS),
    ("run-continued", ", OLMo's checkpoint", cases.SAVED_AT, cases.CONTINUED_TO),
)
SAYS_NOTHING = {"init_fn", "init_device"}  # of OLMo's settings: they change no weight and no logit of a checkpoint

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """One thing compared: how far apart, and how far apart it may be."""

    check: str
    case: str
    figure: float
    allowed: float

    @property
    def met(self) -> bool:
        return self.figure <= self.allowed  # False for NaN


def apart(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Largest difference; infinite where the shapes differ."""
    return float(np.abs(left - right).max()) if left.shape == right.shape else math.inf


def relatively_apart(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """The larger of two: the difference's norm over the norm, and the largest difference over the largest number."""
    if left.shape != right.shape:
        return math.inf
    if not np.abs(right).max():
        return apart(left, right)
    by_norm = np.linalg.norm(left - right) / np.linalg.norm(right)
    return max(float(by_norm), apart(left, right) / float(np.abs(right).max()))


def different(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Numbers that differ in two arrays; infinite where the shapes do."""
    return float((left != right).sum()) if left.shape == right.shape else math.inf


def gradients_apart(ours: Arrays, theirs: Arrays, prefix: str, without: str = "") -> float:
    """The worst gradient; infinite where a name has no partner. ``without`` is left out."""
    names = [{name for name in arrays if name.startswith(prefix)} for arrays in (ours, theirs)]
    if names[0] != names[1] or not names[0]:
        return math.inf
    return max(relatively_apart(ours[name], theirs[name]) for name in names[0] - {without})


def models(work: Path, labels: Mapping[str, str]) -> Iterator[Row]:
    """Logits, losses and gradients; ``labels`` are the other sides' files and their names."""
    for name in cases.ARCHITECTURES:
        folder = work / "models" / cases.folder_name(name)
        ours = np.load(folder / "ours.npz")
        for file, label in labels.items():
            theirs = np.load(folder / f"{file}.npz")
            prefix, embedding = ("native/", "") if file == "ai2" else ("hf/", "hf/model.embed_tokens.weight")
            yield Row(f"logits, {label}", name, apart(ours["logits"], theirs["logits"]), LOGITS)
            yield Row(f"loss, {label}", name, apart(ours["loss"], theirs["loss"]), LOGITS)
            padding = name == cases.READS_PADDING and bool(embedding)
            figure = gradients_apart(ours, theirs, prefix, without=embedding if padding else "")
            if padding:
                figure = max(figure, padding_row(ours[embedding], theirs[embedding]))
            yield Row(f"gradients, {label}", name, figure, GRADIENTS)


def padding_row(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    """As ``relatively_apart``, where transformers gives the row of the padding id no gradient and olmo-model one."""
    row = cases.SHAPE["pad_token_id"]
    if theirs[row].any() or not ours[row].any():
        return math.inf
    return relatively_apart(np.delete(ours, row, axis=0), np.delete(theirs, row, axis=0))


def checkpoints(work: Path) -> Iterator[Row]:
    """Conversions of ai2-olmo's checkpoints, there and back."""
    returned = json.loads((work / "returned.json").read_text(encoding="utf-8"))
    for name, changes in cases.ARCHITECTURES.items():
        folder = work / "models" / cases.folder_name(name)
        hashes = {
            kind: hashlib.sha256((folder / kind / "model.safetensors").read_bytes()).hexdigest()
            for kind in ("hf-of-pt", "hf-of-safetensors", "hf-of-hf_olmo", "hf-again")
        }
        yield Row("checkpoints of ai2-olmo read alike: files that differ", name, len(set(hashes.values())) - 1, 0)
        yield Row("weights that ai2-olmo wrote and gets back: not equal", name, len(returned[name]["weights"]), 0)
        ignored = SAYS_NOTHING | (set() if changes.get("qk_norm") else {"attention_layer_norm_with_affine"})
        yield Row("settings it gets back: not equal", name, len(set(returned[name]["settings"]) - ignored), 0)
        # a checkpoint in bfloat16 is computed in float32 there, as everywhere here
        figure = different(np.load(folder / "logits-returned.npy"), np.load(folder / "ai2.npz")["logits"])
        yield Row("logits of ai2-olmo from what it gets back: not equal", name, figure, 0)


def loaded(work: Path, labels: Mapping[str, str]) -> Iterator[Row]:
    """What transformers says of the folders, and how it goes on from a prompt."""
    for file, label in labels.items():
        found = json.loads((work / f"{file}.json").read_text(encoding="utf-8"))["models"]
        for name in cases.ARCHITECTURES:
            folder = work / "models" / cases.folder_name(name)
            ours = json.loads((folder / "generated-ours.json").read_text(encoding="utf-8"))
            theirs = found[name]
            yield Row(f"complaints about weights, {label}", name, sum(map(len, theirs["complaints"].values())), 0)
            class_differs = theirs["class"].lower() != name.split()[0] + "forcausallm"
            yield Row(f"not of the class expected, {label}", name, class_differs, 0)
            same = (ours["prompt_tokens"], ours["tokens"]) == (theirs["prompt"], theirs["generated"])
            yield Row(f"greedy continuations not equal, {label}", name, not same, 0)


def trainings(work: Path) -> Iterator[Row]:
    """Every step of every training, by olmo-model's own configuration and by the file that ai2-olmo wrote."""
    order = np.load(work / "orders-ours.npz")["trained"]
    for name, given in cases.TRAININGS.items():
        folder = work / "trainings" / cases.folder_name(name)
        theirs = json.loads((folder / "ai2.json").read_text(encoding="utf-8"))
        seen = np.array([row["instances"] for row in theirs])
        yield Row("instances of every step not equal", name, different(order, seen), 0)
        yield Row("steps of ai2-olmo missing", name, abs(len(theirs) - cases.STEPS), 0)
        for run, source, first, last in RUNS:
            lines = (folder / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            ours = [json.loads(line) for line in lines]
            steps = [row["step"] for row in ours]
            yield Row(f"steps missing{source}", name, len({*range(first + 1, last + 1)} ^ {*steps}), 0)
            for key, (check, allowed) in TRAINED.items():
                if key == "train/ZLoss" and not given.get("z_loss"):
                    continue
                both = (ours, theirs[first:last])
                left, right = (np.array([row.get(key, math.nan) for row in rows]) for rows in both)
                scale = right if "relative" in check else 1
                off = np.abs(left - right) / scale if len(left) == len(right) > 0 else np.array([math.inf])
                signs = given["optimizer"]["name"] == "lionw" and allowed > RATES
                kind = f"{given['loss']}, by signs" if signs else given["loss"]
                yield Row(
                    f"{check}, {kind}{source}", name, float(off.max()), TURNED_SIGNS * allowed if signs else allowed
                )
                if key == "train/CrossEntropyLoss" and first == 0:
                    figure = float(off[:FIRST_STEPS].max())
                    yield Row(f"loss of the first {FIRST_STEPS} steps{source}", name, figure, FIRST_LOSSES)


def orders(work: Path) -> Iterator[Row]:
    """Index arrays of every order, and the instances themselves."""
    ours, theirs = np.load(work / "orders-ours.npz"), np.load(work / "orders-ai2.npz")
    for number, case in enumerate(cases.ORDERS):
        name = "{} instances, seed {}, epoch {}, {} ranks, batch {}, {} steps left out".format(*case)
        whole, steps = f"whole/{number}", f"steps/{number}"
        yield Row("global_indices.npy: indices not equal", name, different(ours[whole], theirs[whole]), 0)
        yield Row("instances by step and rank: not equal", name, different(ours[steps], theirs[steps]), 0)
    yield Row("ids of instances not equal", "two files", different(ours["instances"], theirs["instances"]), 0)
    for key, case in (("filtered", "two files"), ("repeating", "random instances of two ids")):
        yield Row("instances filtered: not equal", case, different(ours[key], theirs[key]), 0)
        yield Row("instances filtered: none or all", case, float(theirs[key].mean() in (0, 1)), 0)


def schedules(work: Path) -> Iterator[Row]:
    """The learning rate at every position of every schedule."""
    ours, theirs = np.load(work / "schedules-ours.npz"), np.load(work / "schedules-ai2.npz")
    for name in cases.SCHEDULES:
        figure = float(np.abs(ours[name] / theirs[name] - 1).max())
        yield Row("learning rate of a schedule, relative", name, figure, RATES)


def kolmogorov(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Largest distance of two empirical distributions, scaled by their sizes (Smirnov 1948)."""
    left, right = np.sort(left), np.sort(right)
    both = np.concatenate([left, right])
    shares = [np.searchsorted(values, both, side="right") / len(values) for values in (left, right)]
    return float(np.abs(shares[0] - shares[1]).max() * math.sqrt(len(left) * len(right) / (len(left) + len(right))))


def initializations(work: Path) -> Iterator[Row]:
    """First weights, tensor by tensor."""
    for name, given in cases.INITIALIZATIONS.items():
        files = [work / f"first-{cases.folder_name(name)}-{side}.npz" for side in ("ours", "ai2")]
        ours, theirs = (np.load(file) for file in files)
        yield Row("first weights: names not equal", name, len(set(ours.files) ^ set(theirs.files)), 0)
        cut = given["init_fn"] != "normal" or "init_cutoff_factor" in given
        for key in ours.files:
            left, right = ours[key].ravel(), theirs[key].ravel()
            case = f"{name}, {key}"
            if left.std() == 0 or right.std() == 0:
                yield Row("first weights of norms: not equal", case, different(left, right), 0)
                continue
            error = math.sqrt(1 / left.size + 1 / right.size)  # of two means, in standard deviations
            figure = abs(math.log(left.std() / right.std())) / (error / math.sqrt(2))
            yield Row("first weights: deviation, in errors", case, figure, DEVIATIONS)
            means = abs(float(left.mean(dtype=np.float64) - right.mean(dtype=np.float64))) / (
                error * float(right.std())
            )
            yield Row("first weights: mean, in errors", case, means, DEVIATIONS)
            yield Row("first weights: distribution", case, kolmogorov(left, right), KOLMOGOROV)
            if cut:
                yield Row("first weights: largest, relative", case, abs(left.max() / right.max() - 1), EXTREME)


def as_table(rows: list[Row]) -> list[str]:
    """A line for every check with its worst case, then a line for every miss."""
    lines = [f"{'':4}  {'check':67} {'cases':>5} {'worst':>8} {'allowed':>8}  worst case"]
    for check in dict.fromkeys(row.check for row in rows):
        of_check = [row for row in rows if row.check == check]
        worst = max(of_check, key=lambda row: math.inf if math.isnan(row.figure) else row.figure)
        verdict = "ok" if all(row.met for row in of_check) else "MISS"
        where = worst.case if worst.figure else ""
        lines.append(
            f"{verdict:4}  {check:67} {len(of_check):5} {worst.figure:8.2g} {worst.allowed:8.2g}  {where}".rstrip()
        )
    return lines + [f"MISS  {row.check}: {row.case}: {row.figure:.3g}" for row in rows if not row.met]
