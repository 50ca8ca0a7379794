"""A training run with everything decided, before anything is built."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .batch_schedule import BatchSchedule, batch_schedule
from .config.model import ModelConfig, ModelSettings
from .config.optimization import WITHOUT_END
from .config.training import TrainConfig, duration_in_steps, plain
from .errors import UserError
from .mixture import SeveralTokens, mixture_of
from .order import Order
from .parallel import grid
from .presets import model_config, model_initialization
from .ranks import Ranks
from .raw_tokens import open_tokens
from .schedule import ClipWarmup, Schedule, schedules
from .tokens import Instances, Tokens


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A configuration with everything decided: nothing is left that a default could still change."""

    config: TrainConfig
    model: ModelConfig
    instances: Instances
    order: Order
    schedule: Schedule
    clip_warmup: ClipWarmup
    sequence_length: int
    micro_batch_size: int
    max_steps: int
    device: torch.device

    @property
    def tokens(self) -> Tokens:
        return self.instances.tokens

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a step of full batch size."""
        return self.config.global_batch_size * self.sequence_length

    def tokens_seen(self, step: int) -> int:
        """Tokens that the steps up to this one have taken."""
        return self.order.taken_before(step + 1) * self.sequence_length

    def instances_of(self, step: int, ranks: Ranks) -> npt.NDArray[np.uint32]:
        """The instances of a step that a rank takes: of its micro-batches every ``data_ranks``-th, so that what the
        micro-batches hold does not depend on who computes them."""
        batch = self.order.batch(step)
        return batch.reshape(-1, self.micro_batch_size)[ranks.data_rank :: ranks.data_ranks].reshape(-1)

    def position(self, step: int) -> int:
        """Where a step stands in the schedule, in its units."""
        return self.schedule.position(step, self.tokens_seen(step))

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up."""
        steps = range(1, self.max_steps + 1)
        return bisect_right(steps, self.schedule.warmup, key=self.position)

    def resolved(self) -> dict[str, Any]:
        """The configuration with every default filled in; `olmo-model train` reads it like the one it came from."""
        settings = {field.name for field in dataclasses.fields(ModelSettings)}
        model = {key: value for key, value in dataclasses.asdict(self.model).items() if key in settings}
        tree = plain(self.config)
        tree["run_name"] = self.config.run_name or Path(self.config.save_folder).name
        first_weights = dataclasses.asdict(model_initialization(self.config.model))
        tree["model"] = {"preset": self.config.model.preset} | model | first_weights
        tree["data"]["sequence_length"] = self.sequence_length
        tree["micro_batch_size"] = self.micro_batch_size
        tree["device"] = self.device.type
        scheduler = tree["scheduler"]
        scheduler["warmup"] = self._text(self.schedule.warmup)
        scheduler["t_max"] = None if scheduler["name"] in WITHOUT_END else self._text(self.schedule.t_max)
        if self.config.scheduler.grad_clip_warmup_steps is not None:
            scheduler["grad_clip_warmup_steps"] = self._text(self.clip_warmup.until)
        anneal = self.schedule.anneal
        if anneal is not None:
            scheduler["anneal"] |= {
                "start": self._text(anneal.start),
                "length": self._text(anneal.length),
                "learning_rate": anneal.peak,
            }
        return tree

    def _text(self, length: int) -> str:
        return f"{length}T" if self.schedule.units == "tokens" else str(length)


def make_plan(config: TrainConfig, world: int = 1) -> Plan:
    """Decide everything for a number of ranks and check it against the data; every disagreement is a UserError before
    any work."""
    config = with_precision(config)
    tokens = open_tokens(config.data, config.model)
    model = model_config(
        config.model,
        vocab_size=tokens.vocab_size,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    if tokens.vocab_size > model.embedding_size:
        raise UserError(
            f"the tokens have {tokens.vocab_size} ids, the model's embedding {model.embedding_size} rows",
            where="model.embedding_size",
            fix="leave model.vocab_size and model.embedding_size unset, or use a smaller tokenizer",
        )
    if tokens.eos_token_id != model.eos_token_id:
        raise UserError(
            f"documents end in id {tokens.eos_token_id}, the model's eos_token_id is {model.eos_token_id}",
            where="model.eos_token_id",
            fix="leave model.eos_token_id unset, or make the tokens with the right tokenizer",
        )
    length = config.data.sequence_length or model.max_sequence_length
    if not 2 <= length <= model.max_sequence_length:
        raise UserError(
            f"data.sequence_length {length} is not between 2 and the model's {model.max_sequence_length}",
            where="configuration",
            fix="change it, or raise model.max_sequence_length",
        )
    grid(config.parallel, model, world)
    instances = Instances(tokens, length)
    batches = batch_schedule(config, length)
    mixture = mixture_of(config.data.sources, tokens.counts(length)) if isinstance(tokens, SeveralTokens) else None
    order = Order(
        instances=len(instances) if mixture is None else mixture.places,
        mixture=mixture,
        batches=batches,
        seed=config.seed if config.data.seed is None else config.data.seed,
    )
    max_steps = duration_in_steps(
        config.max_duration,
        lambda tokens: batches.steps_within(tokens // length),
        key="max_duration",
        steps_of_epochs=order.steps_of_epochs,
    )
    if max_steps == 0:
        raise UserError("max_duration is no step long", where="configuration", fix="make it longer")
    schedule, clip_warmup = schedules(config, batches, length, max_steps)
    return Plan(
        config=config,
        model=model,
        instances=instances,
        order=order,
        schedule=schedule,
        clip_warmup=clip_warmup,
        sequence_length=length,
        micro_batch_size=micro_batch_size(config, batches, world // config.parallel.tensor),
        max_steps=min(max_steps, config.stop_at or max_steps),
        device=choose_device(config),
    )


def micro_batch_size(config: TrainConfig, batches: BatchSchedule, data_ranks: int) -> int:
    """Instances of a micro-batch: as many as the settings say, else the most that every batch can be cut into with the
    same number of them for each rank."""
    asked = config.micro_batch_size
    together = data_ranks * (asked or 1)
    uneven = [size for size in batches.sizes if size % together]
    if uneven:
        what = f"{data_ranks} ranks" if asked is None else f"{data_ranks} ranks with micro-batches of {asked}"
        raise UserError(
            f"{what} cannot share a batch of {uneven[0]} evenly",
            where="configuration",
            fix="change global_batch_size, micro_batch_size, batch_warmup.sizes or the number of ranks",
        )
    return asked or math.gcd(*batches.sizes) // data_ranks


def with_precision(config: TrainConfig) -> TrainConfig:
    """The configuration with the precision that ``auto`` means here."""
    if config.precision != "auto":
        return config
    return dataclasses.replace(config, precision="amp_bf16" if kind_of_device(config) == "cuda" else "fp32")


def kind_of_device(config: TrainConfig) -> str:
    """``cuda`` where there is a device and the settings allow it, else ``cpu``."""
    return "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"


def choose_device(config: TrainConfig) -> torch.device:
    """The device that is asked for and there; bfloat16 on a processor is refused, for it is far slower than float32."""
    device = torch.device(kind_of_device(config))
    if config.device == "cuda" and device.type != "cuda":
        raise UserError("there is no CUDA device", where="device", fix="set device to auto or cpu")
    if config.precision == "amp_bf16" and device.type == "cpu":
        raise UserError("amp_bf16 needs a CUDA device", where="precision", fix="set precision to fp32")
    return device
