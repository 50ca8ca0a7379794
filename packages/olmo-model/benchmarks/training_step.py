"""Tokens per second of a training step beside transformers' OlmoForCausalLM, in turns in one process.

    python benchmarks/training_step.py [--preset olmo-3m] [--batch 8] [--length 256] [--rounds 8] [--threads 2]

Both take the same weights, batch, AdamW (fused) and clipping. The share is the floating-point operations that a step
needs (``accelerators.training_flops_per_token``) over what a float32 product of 2048 x 1024 x 1024 reaches in the same
process. The median of the rounds is reported.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import OlmoConfig, OlmoForCausalLM

from olmo_model.accelerators import training_flops_per_token
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import GuardSettings, OptimizerSettings
from olmo_model.convert.hugging_face import to_hugging_face_config
from olmo_model.convert.layout import to_hugging_face
from olmo_model.initialization import initialize
from olmo_model.loss import language_model_loss
from olmo_model.model import Transformer
from olmo_model.presets import model_config, model_initialization
from olmo_model.update import Update


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    options = argparse.ArgumentParser(description="Speed of a training step beside transformers'.")
    options.add_argument("--preset", default="olmo-3m")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--length", type=int, default=256)
    options.add_argument("--vocabulary", type=int, default=4096)
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = options.parse_args()
    torch.set_num_threads(given.threads)

    settings = ModelSettings(preset=given.preset, max_sequence_length=given.length)
    config = model_config(settings, vocab_size=given.vocabulary, eos_token_id=0, pad_token_id=1)
    ours = Transformer(config)
    initialize(ours, model_initialization(settings), 0)
    theirs = OlmoForCausalLM(OlmoConfig(**to_hugging_face_config(config, "float32")))
    theirs.load_state_dict(to_hugging_face(ours.state_dict(), config), strict=False)
    theirs.tie_weights()
    update = Update(ours, OptimizerSettings(), GuardSettings(), learning_rate=lambda step: 4e-4)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=4e-4, fused=True)
    ids = torch.randint(0, given.vocabulary, (given.batch, given.length), generator=torch.Generator().manual_seed(0))

    def our_step() -> float:
        update.clear()
        loss = language_model_loss(ours, ids)
        loss.total.backward()
        update.apply(1, loss.cross_entropy)
        return loss.cross_entropy.item()

    def their_step() -> float:
        optimizer.zero_grad()
        loss = theirs(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    left, right = torch.randn(2048, 1024), torch.randn(1024, 1024)
    actions = {"olmo-model": our_step, "transformers": their_step, "product": lambda: left @ right}
    first = our_step(), their_step()
    assert abs(first[0] - first[1]) < 1e-4, first  # the same loss, or the comparison means nothing
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(given.rounds):
        for name, action in actions.items():
            times[name].append(seconds(action))
    median = {name: statistics.median(values) for name, values in times.items()}

    tokens = given.batch * given.length
    needed = training_flops_per_token(config, given.length) * tokens
    peak = 2 * 2048 * 1024 * 1024 / median["product"]
    print(f"{given.preset}, {given.batch} x {given.length}, {given.threads} threads, product {peak / 1e9:.0f} GFLOP/s")
    for name in ("olmo-model", "transformers"):
        share = needed / median[name] / peak
        print(f"{name:14}{tokens / median[name]:10,.0f} tokens/s  {100 * share:5.1f} % of the product's speed")
    print(f"ratio         {median['transformers'] / median['olmo-model']:10.2f}")


if __name__ == "__main__":
    main()
