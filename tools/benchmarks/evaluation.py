"""Rank classification beside lm-evaluation-harness: the same model, requests and threads, in turn.

Each side is a process of its own, which waits while the other works; the model is loaded before. A round goes from the
texts of the requests to a log-probability of each, tokenisation included; the ratio is that of the medians. Requests
come from the published dumps below DATA_DIR: a zero-shot mix of the core tasks, and five-shot HellaSwag. Weights are
drawn from a seed in float32, the tokenizer is the real one. lm-evaluation-harness runs with batches of 16 requests.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.olmo_models import VOCABULARY
from benchmarks.side import Side

WORKER = Path(__file__).with_name("evaluation_worker.py")
SIDES = ("catwalk-eval", "lm-eval")
TOKENIZER = "allenai_gpt-neox-olmo-dolma-v1_5.json"
TOLERANCE = 1e-4, 5e-7  # absolute, and relative for sums that the other side takes in float32
UNCONDITIONAL = 1_000_000  # the dumps number twins of requests, with a neutral context, from here on
CORE = (
    "arc_challenge/rc_0shot", "arc_easy/rc_0shot", "boolq/rc_0shot", "copa/rc_0shot",
    "hellaswag/rc_0shot_from_5shot", "openbookqa/rc_0shot", "piqa/rc_0shot", "sciq/rc_0shot", "winogrande/rc_0shot",
)  # fmt: skip
REQUESTS = {"zero-shot": CORE, "5-shot": ("hellaswag/rc_5shot",)}
SHAPES = {"8x256": (8, 256, 8, 1024), "1B-2-layers": (2, 2048, 16, 8192)}
SPEED_AIMS = {
    ("8x256", "zero-shot"): 4.0,
    ("8x256", "5-shot"): 15.0,
    ("1B-2-layers", "zero-shot"): 2.5,
    ("1B-2-layers", "5-shot"): 8.0,
}
TOKEN_AIMS = {"zero-shot": 0.55, "5-shot": 0.15}
MEMORY_AIM = 1 / 3


@dataclass(frozen=True)
class Job:
    """A shape of model and a kind of requests."""

    shape: str
    requests: str

    @property
    def name(self) -> str:
        return f"{self.shape} {self.requests}"


JOBS = [Job(shape, requests) for shape in SHAPES for requests in REQUESTS]


def request_rows(data: Path, folders: Sequence[str], limit: int) -> Iterator[tuple[str, str]]:
    """(context, continuation) of the first ``limit`` instances of each dump."""
    for folder in folders:
        seen: set[int] = set()
        with gzip.open(data / "eval" / folder / "requests.jsonl.gz", "rt", encoding="utf-8") as stream:
            for line in stream:
                row = json.loads(line)
                if row["doc_id"] >= UNCONDITIONAL:
                    continue
                seen.add(row["doc_id"])
                if len(seen) > limit:
                    break
                yield row["request"]["context"], row["request"]["continuation"]


def write_model(folder: Path, shape: tuple[int, int, int, int], tokenizer: Path) -> None:
    """Write the model of a shape (layers, width, heads, width of the MLP), its head tied, with its tokenizer."""
    import torch
    from transformers import OlmoConfig, OlmoForCausalLM

    layers, width, heads, mlp = shape
    torch.manual_seed(0)
    config = OlmoConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=mlp, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=1,
        eos_token_id=50_279, bos_token_id=None,
    )  # fmt: skip
    OlmoForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "pad_token": "<|padding|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def measure(job: Job, model: Path, requests: Path, lm_eval: Path, threads: int, repeat: int) -> dict[str, Any]:
    """Run both sides in turn; returns the row of the table."""
    sides = {
        name: Side([str(python), str(WORKER), name, str(model), str(requests), str(threads)])
        for name, python in zip(SIDES, (sys.executable, lm_eval), strict=True)
    }
    try:
        for _ in range(repeat):
            for side in sides.values():
                side.run()
    finally:
        for side in sides.values():
            side.close()
    us, them = (sides[name].rows for name in SIDES)
    seconds = {name: [row["seconds"] for row in side.rows] for name, side in sides.items()}
    median = {name: statistics.median(values) for name, values in seconds.items()}
    peak = {name: side.rows[-1]["peak"] for name, side in sides.items()}
    pairs = list(zip(us[-1]["values"], them[-1]["values"], strict=True))
    worst = max(abs(a - b) for a, b in pairs)
    equal = all(abs(a - b) <= max(TOLERANCE[0], TOLERANCE[1] * abs(b)) for a, b in pairs)
    naive = us[-1]["naive"]
    return {
        "job": job.name,
        "requests": len(us[-1]["values"]),
        "ratio": round(median["lm-eval"] / median["catwalk-eval"], 2),
        "target": SPEED_AIMS[job.shape, job.requests],
        "naive_tokens": naive,
        "forwarded_share": round(us[-1]["forwarded"] / naive, 4),
        "forwarded_target": TOKEN_AIMS[job.requests],
        "distinct_share": round(us[-1]["distinct"] / naive, 4),
        "logit_share": round(us[-1]["logits"] / naive, 4),
        "peak_mib": {name: value >> 20 for name, value in peak.items()},
        "peak_share": round(peak["catwalk-eval"] / peak["lm-eval"], 3),
        "loaded_mib": {name: side.ready["loaded"] >> 20 for name, side in sides.items()},
        "load_seconds": {name: round(side.ready["seconds"], 1) for name, side in sides.items()},
        "worst_difference": worst,
        "first_difference": None if equal else f"log-probabilities differ by {worst:.2g}",
        "threads": threads,
        "all_seconds": seconds,
    }


def bench(
    data: Path, work: Path, lm_eval: Path, names: Sequence[str], limit: int, threads: int, repeat: int
) -> list[dict[str, Any]]:
    """Measure all jobs whose names hold one of ``names`` (all of them without); prints and returns the rows."""
    rows = []
    for shape, sizes in SHAPES.items():
        jobs = [job for job in JOBS if job.shape == shape and (not names or any(name in job.name for name in names))]
        if not jobs:
            continue
        model = work / shape
        write_model(model, sizes, data / "tokenizers" / TOKENIZER)
        for job in jobs:
            requests = work / "requests.json"
            requests.write_text(json.dumps(list(request_rows(data, REQUESTS[job.requests], limit))))
            row = measure(job, model, requests, lm_eval, threads, repeat)
            rows.append(row)
            print(report(row), flush=True)
    return rows


def report(row: dict[str, Any]) -> str:
    ours, theirs = (statistics.median(row["all_seconds"][name]) for name in SIDES)
    return (
        f"{row['job']:22} {row['ratio']:6.2f} times (aim {row['target']}): {ours:.2f} s against {theirs:.2f} s for "
        f"{row['requests']} requests, {row['naive_tokens']:,} tokens; forwarded {row['forwarded_share']} of them (aim "
        f"{row['forwarded_target']}, prefix tree {row['distinct_share']}), logits for {row['logit_share']}; peak "
        f"{row['peak_mib']['catwalk-eval']} against {row['peak_mib']['lm-eval']} MiB ({row['peak_share']}, aim "
        f"{MEMORY_AIM:.2f}); log-probabilities within {row['worst_difference']:.1e}"
    )
