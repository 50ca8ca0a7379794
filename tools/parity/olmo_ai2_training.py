"""ai2-olmo's own training loop, data loader and optimizer, on the tokens and from the first weights of olmo-model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from olmo.config import (
    DataConfig,
    DistributedStrategy,
    InstanceFilterConfig,
    ModelConfig,
    OptimizerConfig,
    SchedulerConfig,
    TokenizerConfig,
    TrainConfig,
)
from olmo.data import IterableDataset, MemMapDataset, build_train_dataloader
from olmo.data.util import find_periodic_sequences
from olmo.model import OLMo
from olmo.optim import build_optimizer, build_scheduler
from olmo.train import Trainer
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from . import olmo_cases as cases
from .olmo_ai2_models import model_settings, read_weights


class LateTrainer(Trainer):
    """OLMo's trainer, which also keeps what each step measured and saw."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.rows: list[dict[str, Any]] = []

    def train_step(self, batch: dict[str, Any], reduce_global_loss: bool = True) -> dict[str, float]:
        metrics = super().train_step(batch, reduce_global_loss)
        rate = self.optim.param_groups[0]["lr"]
        self.rows.append(metrics | {"optim/learning_rate": rate, "instances": batch["index"].tolist()})
        if self.global_step == cases.SAVED_AT:
            self.save_unsharded_checkpoint()
        return metrics


class EarlyTrainer(LateTrainer):
    """The same with the loss of allenai/OLMo v0.2.5 (olmo/train.py): means over each micro-batch, then over these; the
    z-loss over all positions, the last and those that are left out too."""

    def train_batch(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
        losses, z_losses = [], []
        micro_batches = self.split_batch(batch)
        for micro_batch in micro_batches:
            loss, _, logits = self.model_forward(micro_batch, loss_reduction="mean")
            z_loss = cases.Z_LOSS * logits.logsumexp(-1).square().mean()
            total = loss + z_loss if self.cfg.softmax_auxiliary_loss else loss
            (total / len(micro_batches)).backward()
            losses.append(loss.detach())
            z_losses.append(z_loss.detach())
        mean, z_mean = torch.stack(losses).mean(), torch.stack(z_losses).mean()
        return mean, z_mean if self.cfg.softmax_auxiliary_loss else None


def paths(work: Path) -> list[str]:
    manifest = json.loads((work / "tokens" / "manifest.json").read_text(encoding="utf-8"))
    return [str(work / "tokens" / row["path"]) for row in manifest["files"]]


def instance_filter() -> InstanceFilterConfig:
    return InstanceFilterConfig(**{f"repetition_{key}": value for key, value in cases.FILTER.items()})


def train_config(work: Path, name: str) -> TrainConfig:
    """A recipe as OLMo's configuration."""
    given = cases.TRAININGS[name]
    return TrainConfig(
        run_name=name,
        seed=cases.SEED,
        model=ModelConfig(**model_settings(cases.training_model(name))),
        optimizer=OptimizerConfig(weight_decay=cases.WEIGHT_DECAY, **given["optimizer"]),
        scheduler=SchedulerConfig(**given["scheduler"]),
        data=DataConfig(
            paths=paths(work), drop_last=True, instance_filter=instance_filter() if given.get("filter") else None
        ),
        tokenizer=TokenizerConfig(identifier=str(work / "tokens" / "tokenizer.json")),
        save_folder=str(work / "trainings" / cases.folder_name(name) / "ai2"),
        max_duration=cases.STEPS,
        stop_at=cases.STEPS,
        global_train_batch_size=cases.GLOBAL_BATCH,
        device_train_batch_size=cases.GLOBAL_BATCH,
        device_train_microbatch_size=cases.MICRO_BATCH,
        distributed_strategy=DistributedStrategy.ddp,
        precision="fp32",
        max_grad_norm=given.get("max_grad_norm"),
        max_grad_norm_ratio=given.get("max_grad_norm_ratio"),
        softmax_auxiliary_loss=bool(given.get("z_loss")),
        save_interval=None,
        save_num_checkpoints_to_keep=0,
        eval_interval=10 * cases.STEPS,
        evaluators=[],
        console_log_interval=1,
    )


def compute_trainings(work: Path) -> None:
    """Train by OLMo's own loop; AdamW's step is torch's."""
    torch.cuda.get_rng_state = lambda *_: torch.empty(0, dtype=torch.uint8)  # OLMo saves it without asking for a device
    for name, given in cases.TRAININGS.items():
        config = train_config(work, name)
        model = OLMo(config.model)
        folder = work / "trainings" / cases.folder_name(name)
        read_weights(model, folder / "weights.npz")
        kind = LateTrainer if given["loss"] == "late" else EarlyTrainer
        with kind(
            cfg=config,
            model=model,
            dist_model=DistributedDataParallel(model),
            optim=build_optimizer(config, model),
            scheduler=build_scheduler(config),
            train_loader=build_train_dataloader(config),
            device=torch.device("cpu"),
            evaluators=[],
        ) as trainer:
            trainer.fit()
        config.save(folder / "official.yaml")
        (folder / "ai2.json").write_text(json.dumps(trainer.rows), encoding="utf-8")


def compute_orders(work: Path) -> None:
    """For every order the epoch's indices as a whole and by step, put together from those of all ranks; also the
    instances, and which of them are filtered."""
    found = {}
    for number, (instances, seed, epoch, ranks, batch, skipped) in enumerate(cases.ORDERS):
        numbers = [[index] for index in range(instances)]
        settings = {
            "seed": seed,
            "epoch": epoch,
            "drop_last": True,
            "world_size": ranks,
            "start_index": skipped * batch,
        }
        parts = []
        for rank in range(ranks):
            dataset = IterableDataset(numbers, batch, rank=rank, fs_local_rank=rank, num_threads=0, **settings)
            loader = DataLoader(dataset, batch_size=batch // ranks, drop_last=True, collate_fn=indices)
            parts.append(np.array(list(loader), dtype=np.uint32))
        found[f"whole/{number}"] = np.asarray(dataset.get_global_indices())
        # the instances of rank 0 stand at every ranks-th place of a step
        found[f"steps/{number}"] = np.stack(parts, axis=2).reshape(len(parts[0]), batch)
    read = MemMapDataset(
        *paths(work), chunk_size=cases.SEQUENCE, memmap_dtype=np.uint16, instance_filter_config=instance_filter()
    )
    items = [read[index] for index in range(len(read))]
    found["instances"] = np.stack([item["input_ids"].numpy() for item in items])
    found["filtered"] = np.array([not item["instance_mask"] for item in items])
    found["repeating"] = np.array(
        [
            any(run.times >= count for run in find_periodic_sequences(instance, max_period=cases.FILTER["max_period"]))
            for count in cases.REPETITIONS
            for instance in np.load(work / "repetitions.npy")
        ]
    )
    np.savez(work / "orders-ai2.npz", **found)


def compute_schedules(work: Path) -> None:
    """The learning rate at every position of every schedule."""
    found = {}
    for name, (settings, rate, end, first, last) in cases.SCHEDULES.items():
        scheduler = build_scheduler(TrainConfig(), SchedulerConfig(**settings))
        found[name] = np.array([scheduler.get_lr(rate, position, end) for position in range(first, last)])
    np.savez(work / "schedules-ai2.npz", **found)


def indices(items: list[dict[str, Any]]) -> list[int]:
    """What a loader makes of the instances of a step: their numbers."""
    return [item["index"] for item in items]
