"""A training step beside those of transformers and ai2-olmo: the same weights, batch, optimizer and threads, in turn.

Each side is a process of its own. The first round warms up and is not counted; its losses have to be the same, or the
comparison means nothing. Ratios are those of medians. Between the rounds the speed of a float32 product of
2048 x 1024 x 1024 is measured; the share is that of the operations a step needs. Memory is the peak above what the
process had before it made the model, and beyond 16 bytes a parameter (weight, gradient and two moments).
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

from benchmarks.olmo_models import Shape, make_model
from benchmarks.side import Side

WORKER = Path(__file__).with_name("training_worker.py")
SHARE = 0.65  # of the product's speed
MEMORY = 0.5  # of what the others take beyond the floor
PRODUCT = (2048, 1024, 1024)


@dataclass(frozen=True)
class Job:
    """A shape (layers, width, heads, width of the MLP), a batch, its length, and the ratio that is aimed at."""

    shape: Shape
    batch: int
    length: int
    aim: float

    @property
    def name(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]}, batch {self.batch} x {self.length}"


JOBS = (
    Job((8, 256, 8, 1024), 8, 512, 1.8),
    Job((12, 768, 12, 3072), 2, 512, 1.25),
    Job((1, 2048, 16, 8192), 1, 1024, 1.25),
)


def write_model(folder: Path, job: Job) -> int:
    """Write the model for Hugging Face, and its weights under OLMo's names; returns the floating-point operations of a
    token."""
    import torch

    from olmo_model.accelerators import training_flops_per_token
    from olmo_model.model_folder import save_model

    model = make_model(job.shape, eos_token_id=0)
    folder.mkdir(parents=True)
    save_model(folder, model, None)
    torch.save(model.state_dict(), folder / "native.pt")
    return training_flops_per_token(model.config, job.length)


def product_speed(threads: int) -> float:
    """Operations per second of the product, the median of five."""
    import torch

    torch.set_num_threads(threads)
    rows, inner, columns = PRODUCT
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * rows * inner * columns / statistics.median(seconds[1:])


def measure(job: Job, work: Path, pythons: dict[str, str], steps: int, threads: int, repeat: int) -> dict[str, Any]:
    """Run the sides in turn; returns the row of the table."""
    folder = work / job.name.replace(" ", "-")
    needed = write_model(folder, job) * job.batch * job.length
    arguments = [str(folder), str(job.batch), str(job.length), str(steps), str(threads)]
    sides = {name: Side([python, str(WORKER), name, *arguments]) for name, python in pythons.items()}
    products = []
    try:
        for _ in range(1 + repeat):
            for side in sides.values():
                side.run()
            products.append(product_speed(threads))
    finally:
        for side in sides.values():
            side.close()
    speed = statistics.median(products[1:])
    median = {name: statistics.median(row["seconds"] for row in side.rows[1:]) for name, side in sides.items()}
    processor = {name: statistics.median(row["processor"] for row in side.rows[1:]) for name, side in sides.items()}
    beyond = {
        name: side.rows[-1]["peak"] - side.ready["before"] - 16 * side.ready["parameters"]
        for name, side in sides.items()
    }
    first = {name: side.rows[0]["losses"] for name, side in sides.items()}
    us, *others = sides
    apart = max(abs(a - b) for name in others for a, b in zip(first[us], first[name], strict=True))
    row: dict[str, Any] = {
        "job": job.name,
        "ratios": {name: round(median[name] / median[us], 2) for name in others},
        "ratios_of_processor_time": {name: round(processor[name] / processor[us], 2) for name in others},
        "aim": job.aim,
        "tokens_per_second": {name: round(job.batch * job.length / value, 1) for name, value in median.items()},
        "share_of_product": {name: round(needed / value / speed, 3) for name, value in median.items()},
        "beyond_floor_mib": {name: round(value / 2**20) for name, value in beyond.items()},
        "largest_difference_of_losses": apart,
        "gflops_of_product": round(speed / 1e9, 1),
        "threads": threads,
        "all_seconds": {name: [part["seconds"] for part in side.rows[1:]] for name, side in sides.items()},
    }
    if apart > 1e-3:
        row["failed"] = "the losses differ"
    return row


def bench(work: Path, ai2: Path, names: Sequence[str], steps: int, threads: int, repeat: int) -> list[dict[str, Any]]:
    """Measure all jobs whose names hold one of ``names`` (all of them without); prints and returns the rows. ``ai2`` is
    the Python that has ai2-olmo."""
    pythons = {"olmo-model": sys.executable, "transformers": sys.executable, "ai2-olmo": str(ai2)}
    rows = []
    for job in JOBS:
        if names and not any(name in job.name for name in names):
            continue
        row = measure(job, work, pythons, steps, threads, repeat)
        rows.append(row)
        print(json.dumps({key: value for key, value in row.items() if key != "all_seconds"}, indent=1), flush=True)
    return rows
