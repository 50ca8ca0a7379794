"""One side of the benchmark of training: ``training_worker.py TOOL FOLDER BATCH LENGTH STEPS THREADS``.

It takes the weights in FOLDER, then takes STEPS steps for every line on its standard input: forward, loss, backward,
clipping by the global norm and AdamW (torch's fused one on every side). TOOL is olmo-model, transformers or ai2-olmo.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

RATE, BETAS, EPS, DECAY, BOUND = 4e-4, (0.9, 0.95), 1e-5, 0.1, 1.0
Step = Callable[[torch.Tensor], float]


def ours(folder: Path) -> tuple[torch.nn.Module, Step]:
    from olmo_model.allocator import keep_freed_memory
    from olmo_model.config.optimization import GuardSettings, OptimizerSettings
    from olmo_model.loss import language_model_loss
    from olmo_model.model_folder import load_model
    from olmo_model.update import Update

    keep_freed_memory()  # as the train command does on a processor
    model = load_model(folder)
    settings = OptimizerSettings(betas=BETAS, eps=EPS, weight_decay=DECAY, decay_embeddings=True, max_grad_norm=BOUND)
    update = Update(model, settings, GuardSettings(), learning_rate=lambda step: RATE)
    taken = [0]

    def step(ids: torch.Tensor) -> float:
        taken[0] += 1
        update.clear()
        loss = language_model_loss(model, ids)
        loss.total.backward()
        update.apply(taken[0], loss.cross_entropy)
        return loss.cross_entropy.item()

    return model, step


def plain(model: torch.nn.Module, loss_of: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.nn.Module, Step]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, eps=EPS, weight_decay=DECAY, fused=True)

    def step(ids: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), BOUND)
        optimizer.step()
        return loss.item()

    return model, step


def transformers(folder: Path) -> tuple[torch.nn.Module, Step]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return plain(model, lambda ids: model(ids, labels=ids, use_cache=False).loss)


def ai2(folder: Path) -> tuple[torch.nn.Module, Step]:
    from olmo.config import ModelConfig
    from olmo.model import OLMo

    shape = json.loads((folder / "config.json").read_text())
    config = ModelConfig(
        d_model=shape["hidden_size"],
        n_heads=shape["num_attention_heads"],
        n_layers=shape["num_hidden_layers"],
        mlp_hidden_size=2 * shape["intermediate_size"],
        max_sequence_length=shape["max_position_embeddings"],
        vocab_size=shape["vocab_size"],
        embedding_size=shape["vocab_size"],
        weight_tying=shape["tie_word_embeddings"],
        eos_token_id=shape["eos_token_id"],
        pad_token_id=shape["pad_token_id"],
        rope=True,
        alibi=False,
        activation_type="swiglu",
        include_bias=False,
        layer_norm_type="default",
        layer_norm_with_affine=False,
        attention_layer_norm_with_affine=False,
        bias_for_layer_norm=False,
        attention_dropout=0.0,
        residual_dropout=0.0,
        embedding_dropout=0.0,
        flash_attention=False,
        init_device="cpu",
    )
    model = OLMo(config, init_params=False)
    model.load_state_dict(torch.load(folder / "native.pt", weights_only=True))
    model.train()

    def loss_of(ids: torch.Tensor) -> torch.Tensor:
        logits = model(ids).logits[..., :-1, :].contiguous()
        return F.cross_entropy(logits.view(-1, logits.size(-1)), ids[..., 1:].contiguous().view(-1))

    return plain(model, loss_of)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    tool, place, batch, length, steps, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    before = peak()
    model, step = {"olmo-model": ours, "transformers": transformers, "ai2-olmo": ai2}[tool](Path(place))
    parameters = sum(weight.numel() for weight in model.parameters())
    vocabulary = model.get_input_embeddings().weight.shape[0] if tool == "transformers" else model.config.embedding_size
    ids = torch.randint(2, vocabulary, (int(batch), int(length)), generator=torch.Generator().manual_seed(0))
    print(json.dumps({"before": before, "parameters": parameters}), flush=True)
    for _ in sys.stdin:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        started, used = time.perf_counter(), usage.ru_utime + usage.ru_stime
        losses = [step(ids) for _ in range(int(steps))]
        seconds = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_SELF)
        answer = {
            "seconds": seconds / int(steps),
            "processor": (usage.ru_utime + usage.ru_stime - used) / int(steps),
            "losses": losses,
            "peak": peak(),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
