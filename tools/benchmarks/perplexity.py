"""Perplexity beside lm-evaluation-harness's rolling path: the same model, documents and threads, in turn.

Each side is a process of its own, which waits while the other works; the model is loaded before. A round goes from the
texts to a log-probability of each document, tokenisation included. The third side is the model's forward pass with
logits, in the same run. Documents of mixed length come from DATA_DIR; weights are drawn from a seed in float32, the
tokenizer is the real one. lm-evaluation-harness runs with batches of 16 windows. Documents within one window must have
the same log-probability on both sides; longer ones are cut otherwise by the harness (`parity -- lm-eval-rolling`).
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpus import texts
from benchmarks.evaluation import SHAPES, TOKENIZER, write_model
from benchmarks.side import Side

WORKER = Path(__file__).with_name("perplexity_worker.py")
SIDES = ("paloma-ppl", "lm-eval", "forward")
SHAPE = "8x256"
SPEED_AIM, FORWARD_AIM, MEMORY_AIM = 3.0, 0.8, 1 / 3
SHORT = 1500  # characters that are within one window of the model in any case
TOLERANCE = 1e-3  # of a document's sum, which the harness takes in float32


def choose(data: Path, count: int) -> list[str]:
    """``count`` documents of all kinds, drawn by a seed."""
    every = [text for _, _, text in texts(data / "corpora") if text.strip()]
    return random.Random(0).sample(every, count)


def bench(
    data: Path, work: Path, lm_eval: Path, names: Sequence[str], limit: int, threads: int, repeat: int
) -> list[dict[str, Any]]:
    """Measure ``limit`` documents; prints and returns the row."""
    if names and not any(name in SHAPE for name in names):
        return []
    model, documents = work / SHAPE, work / "documents.json"
    write_model(model, SHAPES[SHAPE], data / "tokenizers" / TOKENIZER)
    chosen = choose(data, limit)
    documents.write_text(json.dumps(chosen))
    pythons = {"paloma-ppl": sys.executable, "lm-eval": str(lm_eval), "forward": sys.executable}
    sides = {
        name: Side([python, str(WORKER), name, str(model), str(documents), str(threads)])
        for name, python in pythons.items()
    }
    try:
        for _ in range(repeat):
            for side in sides.values():
                side.run()
    finally:
        for side in sides.values():
            side.close()
    row = verdict({name: side.rows for name, side in sides.items()}, chosen, threads)
    print(report(row), flush=True)
    return [row]


def verdict(rows: dict[str, list[dict[str, Any]]], chosen: Sequence[str], threads: int) -> dict[str, Any]:
    """What the rounds of all sides come to."""
    tokens = rows["paloma-ppl"][-1]["tokens"]
    amounts = {"paloma-ppl": tokens, "lm-eval": tokens, "forward": rows["forward"][-1]["tokens"]}
    rates = {name: amounts[name] / statistics.median(row["seconds"] for row in found) for name, found in rows.items()}
    peak = {name: found[-1]["peak"] for name, found in rows.items()}
    pairs = zip(rows["paloma-ppl"][-1]["values"], rows["lm-eval"][-1]["values"], chosen, strict=True)
    apart = max((abs(a - b) for a, b, text in pairs if len(text) <= SHORT), default=0.0)
    return {
        "job": SHAPE,
        "documents": len(chosen),
        "tokens": tokens,
        "tokens_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": round(rates["paloma-ppl"] / rates["lm-eval"], 2),
        "target": SPEED_AIM,
        "forward_share": round(rates["paloma-ppl"] / rates["forward"], 3),
        "forward_target": FORWARD_AIM,
        "padding": round(rows["paloma-ppl"][-1]["padding"], 4),
        "peak_mib": {name: value >> 20 for name, value in peak.items()},
        "peak_share": round(peak["paloma-ppl"] / peak["lm-eval"], 3),
        "peak_target": round(MEMORY_AIM, 3),
        "worst_difference": apart,
        "first_difference": None if apart <= TOLERANCE else f"log-probabilities differ by {apart:.2g}",
        "threads": threads,
        "all_seconds": {name: [row["seconds"] for row in found] for name, found in rows.items()},
    }


def report(row: dict[str, Any]) -> str:
    rates, peak = row["tokens_per_second"], row["peak_mib"]
    return (
        f"{row['documents']} documents, {row['tokens']:,} tokens: {rates['paloma-ppl']:,.0f} tokens/s, lm-eval "
        f"{rates['lm-eval']:,.0f} ({row['ratio']} times, aim {row['target']}), forward pass with logits "
        f"{rates['forward']:,.0f} ({row['forward_share']} of it, aim {row['forward_target']}); padding "
        f"{row['padding']:.1%}; peak {peak['paloma-ppl']} against {peak['lm-eval']} MiB ({row['peak_share']}, aim "
        f"{row['peak_target']}); short documents within {row['worst_difference']:.1e}"
    )
