"""From a configuration to a running trainer: the one place that puts the parts together."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from .batch_schedule import batch_schedule
from .callbacks.checkpointing import Checkpointing
from .callbacks.console import Console
from .callbacks.data_order import DataOrder
from .callbacks.evaluation import Evaluation, EvaluationOnLoad
from .callbacks.masked_instances import MaskedInstances
from .callbacks.metrics import Metrics
from .checkpoint import Progress, point_latest, remove_old_checkpoints, restore, save_checkpoint
from .config.model import ModelConfig, ModelSettings
from .config.optimization import WITHOUT_END
from .config.training import TrainConfig, duration_in_steps, plain
from .errors import UserError
from .evaluate import load_requests, load_windows, perplexity, rank_classification
from .files import write_json
from .initialization import initialize
from .instance_filter import repeating
from .loss import Loss, language_model_loss
from .model import Transformer
from .order import Order
from .presets import model_config, model_initialization, parameter_count
from .provenance import recorded
from .raw_tokens import open_tokens
from .run_folder import FORMAT_VERSION, RunFolder
from .schedule import ClipWarmup, Schedule, schedules
from .tokens import Instances, Tokens, load_tokenizer
from .trainer import Batch, Callback, Row, Trainer
from .update import Update

log = logging.getLogger(__name__)
EXIT_STOPPED = 130
DOCUMENTS_SHOWN = 10


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

    def position(self, step: int) -> int:
        """Where a step stands in the schedule, in its units."""
        return self.schedule.position(step, self.tokens_seen(step))

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


def make_plan(config: TrainConfig) -> Plan:
    """Decide everything and check it against the data; every disagreement is a UserError before any work."""
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
    instances = Instances(tokens, length)
    batches = batch_schedule(config, length)
    order = Order(
        instances=len(instances),
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
        micro_batch_size=config.micro_batch_size or math.gcd(*batches.sizes),
        max_steps=min(max_steps, config.stop_at or max_steps),
        device=choose_device(config),
    )


def with_precision(config: TrainConfig) -> TrainConfig:
    """The configuration with the precision that ``auto`` means here."""
    if config.precision != "auto":
        return config
    on_cuda = config.device != "cpu" and torch.cuda.is_available()
    return dataclasses.replace(config, precision="amp_bf16" if on_cuda else "fp32")


def choose_device(config: TrainConfig) -> torch.device:
    """The device that is asked for and there; bfloat16 on a processor is refused, for it is far slower than float32."""
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise UserError("there is no CUDA device", where="device", fix="set device to auto or cpu")
    device = torch.device("cuda" if available and config.device != "cpu" else "cpu")
    if config.precision == "amp_bf16" and device.type == "cpu":
        raise UserError("amp_bf16 needs a CUDA device", where="precision", fix="set precision to fp32")
    return device


def build_trainer(
    plan: Plan, model: Transformer, update: Update, *, masked: MaskedInstances | None = None, **more: Any
) -> Trainer:
    """The trainer of a plan; ``masked`` is told of instances left out, ``more`` are further arguments of Trainer."""
    wanted = plan.config.data.instance_filter

    def next_batch(step: int) -> Batch:
        found = plan.instances.batch(plan.order.batch(step))
        ids = torch.from_numpy(found).to(plan.device, non_blocking=True)
        if not wanted.enabled:
            return (ids,)
        out = repeating(found, min_period=wanted.min_period, max_period=wanted.max_period, max_count=wanted.max_count)
        if masked is not None:
            masked.of_step[step] = int(out.sum())
        return ids, torch.from_numpy(~out).to(plan.device, non_blocking=True)

    def compute_loss(input_ids: Tensor, instance_mask: Tensor | None = None) -> Loss:
        with autocast(plan):
            return language_model_loss(model, input_ids, instance_mask=instance_mask, settings=plan.config.loss)

    return Trainer(
        compute_loss=compute_loss,
        update=update,
        next_batch=next_batch,
        max_steps=plan.max_steps,
        micro_batch_size=plan.micro_batch_size,
        settle_interval=plan.config.log_interval,
        **more,
    )


def autocast(plan: Plan) -> AbstractContextManager[Any]:
    """The precision of forward passes."""
    if plan.config.precision == "fp32":
        return nullcontext()
    return torch.autocast(plan.device.type, dtype=torch.bfloat16)


def set_threads(threads: int | None) -> int:
    """Use this many threads of the processor; torch's own number (its cores, or OMP_NUM_THREADS) where it is None."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def build_model(plan: Plan) -> tuple[Transformer, Update]:
    """The model with its first weights, on the device, and what moves them."""
    model = Transformer(plan.model).to(plan.device)
    initialize(model, model_initialization(plan.config.model), plan.config.seed)
    update = Update(
        model,
        plan.config.optimizer,
        plan.config.guard,
        learning_rate=lambda step: plan.schedule.learning_rate(plan.position(step)),
        bound_factor=lambda step: plan.clip_warmup.at(plan.position(step - 1)),
    )
    return model, update


def train(config: TrainConfig) -> int:
    """Train, or go on with a run; returns the exit status: 0 complete, 130 stopped by a signal after a checkpoint."""
    threads = set_threads(config.threads)
    plan = make_plan(config)
    run = RunFolder(Path(config.save_folder))
    resolved = plan.resolved()
    parameters = parameter_count(plan.model)
    manifest = {
        "artifact": "run",
        "format_version": FORMAT_VERSION,
        "run_name": resolved["run_name"],
        "parameters": parameters,
        "tokens_fingerprint": plan.tokens.fingerprint,
        "tokenizer_digest": plan.tokens.tokenizer_digest,
    }
    standing = run.check(manifest, resolved, plan.max_steps)
    if standing.checkpoint is not None:
        point_latest(run.root, standing.checkpoint)
    if standing.complete:
        log.info("the run in %s is complete: step %d of %d; nothing to do", run.root, standing.step, plan.max_steps)
        return 0
    load_tokenizer(plan.tokens.tokenizer_file)  # every checkpoint needs it
    with within_memory():
        model, update = build_model(plan)
    evaluate = _evaluation(plan, model)
    run.write(manifest, resolved)
    if standing.rounding:
        log.warning("changed since the run began: %s; losses agree only up to rounding", ", ".join(standing.rounding))
    if standing.checkpoint is not None:
        restore(standing.checkpoint, model, update)
        log.info("going on from %s", standing.checkpoint)
    inputs = [plan.tokens.description]
    inputs += [Path(folder) for folder in (config.evaluation.windows, config.evaluation.requests) if folder]
    with recorded("olmo-model", "train", folder=run.root, config=resolved, inputs=inputs, seed=config.seed) as record:
        log.info(
            "%s parameters, %s instances of %d tokens, %d steps of %s tokens, %s, %d threads",
            f"{parameters:,}",
            f"{len(plan.instances):,}",
            plan.sequence_length,
            plan.max_steps,
            f"{plan.tokens_per_step:,}",
            plan.device,
            threads,
        )
        ledger = DataOrder(
            run.data_order,
            plan.order,
            sequence_length=plan.sequence_length,
            tokens_fingerprint=plan.tokens.fingerprint,
        )
        masked = MaskedInstances(interval=config.log_interval) if config.data.instance_filter.enabled else None

        def on_skipped(step: int, account: str) -> None:
            log.warning(
                "step %d made no update: %s; its batch holds %s", step, account, describe_batch(plan, run, step)
            )
            ledger.write(step, skipped_steps=(step,))

        trainer = build_trainer(
            plan,
            model,
            update,
            masked=masked,
            callbacks=[
                ledger,
                *([masked] if masked else []),
                *_callbacks(plan, run, model, update, evaluate, resolved),
            ],
            on_skipped=on_skipped,
            describe_batch=lambda step: describe_batch(plan, run, step),
            step=standing.step,
        )
        with stopping_on_signals(trainer), within_memory():
            trainer.fit()
        record.counts = {
            "first_step": standing.step + 1,
            "last_step": trainer.current_step,
            "tokens_seen": plan.tokens_seen(trainer.current_step),
        }
        record.outputs.append(run.root / f"step{trainer.current_step}")
    if trainer.complete:
        return 0
    log.info("stopped after step %d, which is saved; resume with the same command", trainer.current_step)
    return EXIT_STOPPED


@contextmanager
def within_memory() -> Iterator[None]:
    """Memory that does not suffice, on a device or in the machine, is a UserError."""
    try:
        yield
    except RuntimeError as error:
        signs = ("can't allocate memory", "Storage size calculation overflowed")
        if not isinstance(error, torch.OutOfMemoryError) and not any(sign in str(error) for sign in signs):
            raise
        raise UserError(
            "there is not enough memory for this model and micro-batch",
            where="configuration",
            fix="lower micro_batch_size, or choose a smaller model",
        ) from error


def _evaluation(plan: Plan, model: Transformer) -> Callable[[], Row] | None:
    settings = plan.config.evaluation
    digest = plan.tokens.tokenizer_digest
    limit = settings.limit
    windows = (
        load_windows(settings.windows, model, digest, sources=settings.sources, limit=limit) if settings.windows else []
    )
    tasks = load_requests(settings.requests, settings.tasks, model, digest, limit=limit) if settings.requests else {}
    if not windows and not tasks:
        return None

    def evaluate() -> Row:
        with autocast(plan):
            found = perplexity(model, windows, batch_tokens=settings.batch_tokens)
            return found | rank_classification(model, tasks, batch_tokens=settings.batch_tokens)

    return evaluate


def _callbacks(
    plan: Plan,
    run: RunFolder,
    model: Transformer,
    update: Update,
    evaluate: Callable[[], Row] | None,
    resolved: dict[str, Any],
) -> list[Callback]:
    """In this order: the row of a step is complete before it is written, and written before the step is saved."""

    def save(step: int) -> Path:
        epoch, instance = plan.order.position(step + 1)
        progress = Progress(step=step, tokens_seen=plan.tokens_seen(step), epoch=epoch, next_instance=instance)
        folder = save_checkpoint(run.root, model, update, progress, plan.tokens.tokenizer_file)
        if settings.checkpoint.keep is not None:
            remove_old_checkpoints(run.root, settings.checkpoint.keep)
        return folder

    settings = plan.config
    callbacks: list[Callback] = []
    if evaluate is not None:
        callbacks.append(Evaluation(evaluate, interval=settings.evaluation.interval))
    metrics = Metrics(run.metrics, log_interval=settings.log_interval, tokens_seen=plan.tokens_seen)
    callbacks.append(metrics)
    if evaluate is not None and settings.evaluation.on_load:
        callbacks.append(EvaluationOnLoad(evaluate, metrics))
    callbacks.append(Console(plan.tokens_seen))
    if settings.wandb.project is not None:
        from .callbacks.weights_and_biases import WeightsAndBiases

        callbacks.append(WeightsAndBiases(settings.wandb, run.root, resolved))
    callbacks.append(Checkpointing(save, interval=settings.checkpoint.save_interval))
    return callbacks


def describe_batch(plan: Plan, run: RunFolder, step: int) -> str:
    """Names the documents of a batch, in full in a file of the run folder."""
    from .lookup import documents_of_instances

    rows = documents_of_instances(plan.instances, plan.order.batch(step).tolist())
    file = run.root / f"batch_of_step{step}.json"
    write_json(file, {"step": step, "documents": rows})
    names = list(dict.fromkeys(row["id"] for row in rows))
    shown = ", ".join(json.dumps(name, ensure_ascii=False) for name in names[:DOCUMENTS_SHOWN])
    more = f" and {len(names) - DOCUMENTS_SHOWN} more" if len(names) > DOCUMENTS_SHOWN else ""
    return f"the documents {shown}{more}, listed in {file}"


@contextmanager
def stopping_on_signals(trainer: Trainer) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks the trainer to stop after its step; a second one acts as it always does."""
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        log.info("%s: finishing the step and saving it", signal.Signals(number).name)
        trainer.stop_requested = True
        for which, handler in before.items():
            signal.signal(which, handler)

    for which in (signal.SIGINT, signal.SIGTERM):
        before[which] = signal.signal(which, ask)
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
