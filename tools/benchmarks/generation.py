"""Greedy generation beside transformers' ``generate``: the same weights, prompts and threads, in turn.

Each side is a process of its own, which waits while the other works. Weights are drawn from a seed in float32; the row
of the end-of-document id is zero, so that no text ends before the others. The first round warms up and is not counted;
the ratio is that of the medians. Beside it stands what reading every weight once for each new token takes by the speed
at which torch reads the head's weights alone, the floor for one sequence in float32.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.olmo_models import VOCABULARY, Shape, make_model
from benchmarks.side import Side

AIM = 2.0
END = 50_279
WORKER = Path(__file__).with_name("generation_worker.py")
SIDES = ("olmo-model", "transformers")


@dataclass(frozen=True)
class Job:
    """A shape (layers, width, heads, width of the MLP), a number of prompts and their length."""

    shape: Shape
    batch: int
    prompt: int

    @property
    def name(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]}, batch {self.batch}, prompts of {self.prompt}"


SHAPES = ((8, 256, 8, 1024), (12, 768, 12, 3072))
JOBS = [Job(shape, batch, prompt) for shape in SHAPES for batch in (1, 16) for prompt in (32, 256)]


def write_model(folder: Path, shape: Shape) -> int:
    """Write the model of a shape; returns the bytes of its weights."""
    from olmo_model.model_folder import save_model

    model = make_model(shape, END)
    state = model.state_dict()
    state["transformer.wte.weight"][END] = 0
    folder.mkdir(parents=True)
    save_model(folder, model, None)
    return sum(weight.numel() * 4 for weight in state.values())


def read_speed(width: int, threads: int) -> float:
    """Bytes per second of a product of one row with the head's weights, the best of 20."""
    import torch

    torch.set_num_threads(threads)
    weight, x = torch.randn(VOCABULARY, width), torch.randn(1, width)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        best = min(best, time.perf_counter() - started)
    return weight.numel() * 4 / best


def first_difference(left: Sequence[Sequence[int]], right: Sequence[Sequence[int]]) -> str | None:
    """Where two lists of continuations first differ."""
    for row, (one, other) in enumerate(zip(left, right, strict=True)):
        for place in range(max(len(one), len(other))):
            if one[place : place + 1] != other[place : place + 1]:
                return f"prompt {row}, token {place}"
    return None


def measure(job: Job, model: Path, work: Path, new_tokens: int, threads: int, repeat: int) -> dict[str, Any]:
    """Run both sides in turn; returns the row of the table."""
    import numpy as np

    prompts = work / "prompts.json"
    prompts.write_text(json.dumps(np.random.default_rng(0).integers(2, END, (job.batch, job.prompt)).tolist()))
    arguments = [str(model), str(prompts), str(new_tokens), str(threads)]
    sides = {name: Side([sys.executable, str(WORKER), name, *arguments]) for name in SIDES}
    try:
        for _ in range(1 + repeat):
            for side in sides.values():
                side.run()
    finally:
        for side in sides.values():
            side.close()
    us, them = (sides[name] for name in SIDES)
    seconds = {name: [row["seconds"] for row in side.rows[1:]] for name, side in sides.items()}
    median = {name: statistics.median(values) for name, values in seconds.items()}
    processor = {name: statistics.median(row["processor"] for row in side.rows[1:]) for name, side in sides.items()}
    return {
        "job": job.name,
        "ratio": round(median["transformers"] / median["olmo-model"], 2),
        "ratio_of_processor_time": round(processor["transformers"] / processor["olmo-model"], 2),
        "ratio_of_fastest": round(min(seconds["transformers"]) / min(seconds["olmo-model"]), 2),
        "target": AIM,
        "tokens_per_second": {name: round(job.batch * new_tokens / value, 1) for name, value in median.items()},
        "peak_mib": {name: side.rows[-1]["peak"] >> 20 for name, side in sides.items()},
        "loaded_mib": {name: side.ready["loaded"] >> 20 for name, side in sides.items()},
        "first_difference": first_difference(us.rows[-1]["ids"], them.rows[-1]["ids"]),
        "threads": threads,
        "all_seconds": seconds,
    }


def bench(work: Path, names: Sequence[str], new_tokens: int, threads: int, repeat: int) -> list[dict[str, Any]]:
    """Measure all jobs whose names hold one of ``names`` (all of them without); prints and returns the rows."""
    rows = []
    for shape in SHAPES:
        jobs = [job for job in JOBS if job.shape == shape and (not names or any(name in job.name for name in names))]
        if not jobs:
            continue
        model = work / f"model-{shape[1]}"
        size = write_model(model, shape)
        floor = size / read_speed(shape[1], threads)
        print(f"{shape[0]} x {shape[1]}: {size / 1e6:.0f} MB of weights; floor {1e3 * floor:.2f} ms", flush=True)
        for job in jobs:
            row = measure(job, model, work, new_tokens, threads, repeat)
            row["floor_tokens_per_second"] = round(1 / floor, 1) if job.batch == 1 else None
            rows.append(row)
            speeds, peaks = row["tokens_per_second"], row["peak_mib"]
            place = row["first_difference"]
            print(
                f"{job.name:38} {row['ratio']:5.2f} times (aim {AIM}; processor {row['ratio_of_processor_time']}, "
                f"fastest {row['ratio_of_fastest']}); "
                f"{speeds['olmo-model']} against {speeds['transformers']} tokens/s; "
                f"peak {peaks['olmo-model']} against {peaks['transformers']} MiB; "
                f"tokens {'equal' if place is None else 'differ at ' + place}",
                flush=True,
            )
    return rows
