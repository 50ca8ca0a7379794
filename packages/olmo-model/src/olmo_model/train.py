"""From a configuration to a running trainer: the one place that puts the parts together."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from .accelerators import peak_of, training_flops_per_token
from .allocator import keep_freed_memory
from .batches import Batches
from .beginning import Begun, begin_with
from .callbacks.checkpointing import Checkpointing
from .callbacks.console import Console
from .callbacks.data_order import DataOrder
from .callbacks.early_stopping import EarlyStopping
from .callbacks.evaluation import Evaluation, EvaluationOnLoad
from .callbacks.masked_instances import MaskedInstances
from .callbacks.metrics import Metrics
from .callbacks.peak_memory import PeakMemory
from .callbacks.remote_copy import RemoteCopy
from .callbacks.report import Report
from .callbacks.time_limit import TimeLimit
from .callbacks.weight_metrics import WeightMetrics
from .checkpoint import Checkpoints, Progress
from .config.training import TrainConfig
from .errors import UserError
from .evaluate import Scorer, load_requests, load_windows, perplexity, rank_classification
from .files import read_json, write_json
from .id_check import check_ids
from .loss import Loss, documents_of, language_model_loss
from .memory import layout_of, memory_for, refuse_impossible
from .model import Transformer
from .parallel import draw_first_weights, let_go, on_grid, recompute, reduce_over_replicas, spread
from .plan import Plan, kind_of_device, make_plan
from .presets import model_initialization, parameter_count
from .provenance import Record, recorded
from .ranks import Ranks, joined
from .restoring import newest_whole_checkpoint, restore
from .run_folder import FORMAT_VERSION, MANIFEST, NOT_BEGUN, RunFolder, as_begun
from .tokens import load_tokenizer
from .trainer import Callback, Row, Trainer
from .update import Update

log = logging.getLogger(__name__)
EXIT_STOPPED = 130
DOCUMENTS_SHOWN = 10


def build_model(plan: Plan, ranks: Ranks, *, draw: bool = True) -> Transformer:
    """The model on its ranks, with its first weights, or, where they are not to be drawn, with none."""
    with torch.device("meta"):
        model = Transformer(plan.model)
    spread(model, ranks, plan.config.parallel, None if plan.config.precision == "fp32" else torch.bfloat16)
    recompute(model, plan.config.activation_checkpointing)
    if draw:
        draw_first_weights(model, model_initialization(plan.config.model), plan.config.seed, ranks.tensor)
    return model


def build_update(plan: Plan, ranks: Ranks, model: Transformer) -> Update:
    """What moves a model's weights, by the schedule of the plan."""
    return Update(
        model,
        plan.config.optimizer,
        plan.config.guard,
        learning_rate=lambda step: plan.schedule.learning_rate(plan.position(step)),
        bound_factor=lambda step: plan.clip_warmup.at(plan.position(step - 1)),
        tensor=ranks.tensor,
    )


def build_trainer(
    plan: Plan, ranks: Ranks, model: Transformer, update: Update, batches: Batches, **more: Any
) -> Trainer:
    """The trainer of a plan; ``more`` are further arguments of Trainer."""
    apart = plan.config.data.attention_within_documents

    def compute_loss(input_ids: Tensor, instance_mask: Tensor | None = None, label_mask: Tensor | None = None) -> Loss:
        with autocast(plan):
            return language_model_loss(
                model,
                input_ids,
                instance_mask=instance_mask,
                label_mask=label_mask,
                documents=documents_of(input_ids, plan.model.eos_token_id) if apart else None,
                settings=plan.config.loss,
            )

    return Trainer(
        compute_loss=compute_loss,
        update=update,
        next_batch=batches,
        max_steps=plan.max_steps,
        micro_batch_size=plan.micro_batch_size,
        ranks=ranks,
        before_backward=partial(reduce_over_replicas, model),
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


def train(config: TrainConfig, *, overwrite: bool = False) -> int:
    """Train, or go on with a run; returns the exit status: 0 complete, 130 stopped after a checkpoint by a signal or at
    its time limit. Under torchrun every rank calls this. With ``overwrite`` a run that is there is removed first."""
    began = time.monotonic()
    threads = set_threads(config.threads)
    with joined(kind_of_device(config)) as ranks:
        if ranks.device.type == "cpu":
            keep_freed_memory()
        if not ranks.first:
            logging.getLogger(__package__).setLevel(logging.WARNING)
        refuse_a_mixture(ranks)
        run = RunFolder(Path(config.save_folder))
        begun = config if overwrite else ranks.from_first(lambda: as_begun(config))
        if begun != config:
            log.info("micro_batch_size is %d, as it was: it decides how much a label weighs", begun.micro_batch_size)
        plan = ranks.together(lambda: make_plan(begun, ranks.world))
        layout = layout_of(plan, ranks.world, ranks.device.type, half=plan.config.precision == "amp_bf16")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        ranks.together(lambda: refuse_impossible(plan.model, layout, *memory_for(ranks.device, here)))
        check_ids(plan.tokens, plan.sequence_length, ranks)
        return _train(plan, on_grid(ranks, config.parallel, plan.model), run, threads, began, overwrite=overwrite)


def refuse_a_mixture(ranks: Ranks) -> None:
    """UserError, on all ranks, where some have a CUDA device and others have none."""
    kinds = ranks.gather(ranks.device.type)
    if len(set(kinds)) > 1:
        raise UserError(
            f"rank {kinds.index('cpu')} has no CUDA device, rank {kinds.index('cuda')} has one",
            where="device",
            fix="start on like machines, or set device to cpu",
        )


def _train(plan: Plan, ranks: Ranks, run: RunFolder, threads: int, began: float, *, overwrite: bool) -> int:
    config, resolved = plan.config, plan.resolved()
    manifest = {
        "artifact": "run",
        "format_version": FORMAT_VERSION,
        "run_name": resolved["run_name"],
        "parameters": parameter_count(plan.model),
        "tokens_fingerprint": plan.tokens.fingerprint,
        "tokenizer_digest": plan.tokens.tokenizer_digest,
    }
    if plan.tokens.remote:
        manifest["remote"] = plan.tokens.remote
    if overwrite:
        ranks.from_first(lambda: run.check_removable(config.load_path))
        standing = NOT_BEGUN
    else:
        newest = newest_whole_checkpoint(run.root, ranks)
        standing = ranks.from_first(lambda: run.check(manifest, resolved, plan.max_steps, newest))
    copy = None
    if config.remote_save_folder is not None and ranks.first:
        copy = RemoteCopy(run, config.remote_save_folder, interval=config.log_interval)

    def begin_copying() -> None:
        if copy is not None:
            copy.check(manifest, resolved, new=standing.checkpoint is None)
            if standing.complete:
                copy.copy()

    ranks.together(begin_copying)
    if standing.complete:
        log.info("the run in %s is complete: step %d of %d; nothing to do", run.root, standing.step, plan.max_steps)
        return 0
    ranks.together(lambda: load_tokenizer(plan.tokens.tokenizer_file))  # every checkpoint needs it
    with within_memory():
        model = build_model(plan, ranks, draw=standing.checkpoint is None and config.load_path is None)
        update = build_update(plan, ranks, model)
    begun = Begun(step=standing.step, files=[])
    if standing.checkpoint is None and config.load_path is not None:
        begun = begin_with(plan, model, update, ranks)
        what = " and the optimizer's state" if config.load_optimizer_state else ""
        log.info("beginning after step %d with the weights%s of %s", begun.step, what, config.load_path)
    evaluate = ranks.together(lambda: _evaluation(plan, ranks, model))

    def begin_folder() -> None:
        if overwrite:
            run.remove()
        run.write(manifest, resolved)

    ranks.from_first(begin_folder)
    if standing.rounding and ranks.first:
        log.warning("changed since the run began: %s; losses agree only up to rounding", ", ".join(standing.rounding))
    progress: Progress | None = None
    if standing.checkpoint is not None:
        progress = restore(standing.checkpoint, model, update, ranks)
        log.info("going on from %s", standing.checkpoint)
    log.info(
        "%s parameters, %s instances of %d tokens, %d steps of %s tokens, %s, %d threads",
        f"{manifest['parameters']:,}",
        f"{len(plan.instances):,}",
        plan.sequence_length,
        plan.max_steps,
        f"{plan.tokens_per_step:,}",
        ranks.device.type if ranks.world == 1 else f"{ranks.world} ranks on {ranks.device.type}",
        threads,
    )
    if plan.order.mixture is not None:
        for source, count, taken in zip(
            config.data.sources, plan.order.mixture.counts, plan.order.mixture.taken, strict=True
        ):
            left = max(0, count - taken)
            log.info("%s: an epoch takes %d of its %d instances, %d are left out", source.tokens, taken, count, left)
    checkpoints = Checkpoints(run.root, model, update, ranks, plan.tokens.tokenizer_file, config.checkpoint)
    masked = MaskedInstances(
        ranks, interval=config.log_interval, before=0 if progress is None else progress.masked_instances
    )
    batches = Batches(plan, ranks, masked if config.data.instance_filter.enabled else None)
    ledger = DataOrder(
        run.data_order,
        plan.order,
        ranks,
        sequence_length=plan.sequence_length,
        tokens_fingerprint=plan.tokens.fingerprint,
    )

    def on_skipped(step: int, account: str) -> None:
        if ranks.first:
            log.warning(
                "step %d made no update: %s; its batch holds %s", step, account, describe_batch(plan, run, step)
            )
        ranks.from_first(lambda: ledger.write(step, skipped_steps=(step,)))

    callbacks = ranks.together(
        lambda: _callbacks(plan, ranks, run, checkpoints, evaluate, resolved, ledger, batches.masked, began)
    )
    trainer = build_trainer(
        plan,
        ranks,
        model,
        update,
        batches,
        callbacks=[*callbacks, *([] if copy is None else [copy])],
        on_skipped=on_skipped,
        describe_batch=lambda step: describe_batch(plan, run, step),
        step=begun.step,
    )
    with stopping_on_signals(trainer), ExitStack() as stack:
        record = Record()
        if ranks.first:
            record = stack.enter_context(_recorded(plan, run, resolved, begun.files))
        try:
            with within_memory():
                trainer.fit()
        finally:
            batches.close()
            checkpoints.close()

        def conclude() -> None:
            done = trainer.current_step
            log.info("of %.1f s the steps waited %.2f s for their data", trainer.seconds, batches.waited)
            record.counts = {
                "first_step": begun.step + 1,
                "last_step": done,
                "tokens_seen": plan.tokens_seen(done),
            }
            note_checkpoint(record, run.root / f"step{done}")
            stack.close()
            if not trainer.complete:
                here = (run.root / f"step{done}").is_dir()
                saved = f"after step {done}, which is saved" if here else "before the first step"
                log.info("stopped %s; resume with the same command", saved)

        ranks.from_first(conclude)  # a launcher ends all as soon as one has left
    return 0 if trainer.complete else EXIT_STOPPED


def _recorded(
    plan: Plan, run: RunFolder, resolved: dict[str, Any], begun_with: list[Path]
) -> AbstractContextManager[Record]:
    """The record of provenance, which the first rank writes for all."""
    settings = plan.config.evaluation
    inputs = [part.description for part in plan.tokens.parts]
    inputs += [Path(folder) for folder in (settings.windows, settings.requests) if folder]
    inputs += begun_with
    return recorded("olmo-model", "train", folder=run.root, config=resolved, inputs=inputs, seed=plan.config.seed)


def note_checkpoint(record: Record, folder: Path) -> None:
    """Count a checkpoint, if there is one, among the outputs, with the digests that its manifest has."""
    if folder.is_dir():
        files = read_json(folder / MANIFEST)["files"]
        record.outputs.append(folder)
        record.digests |= {str(folder / name): digest for name, digest in files.items()}


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


def _evaluation(plan: Plan, ranks: Ranks, model: Transformer) -> Callable[[], Row] | None:
    settings = plan.config.evaluation
    digest = plan.tokens.tokenizer_digest
    limit = settings.limit
    windows = (
        load_windows(settings.windows, plan.model, digest, sources=settings.sources, limit=limit)
        if settings.windows
        else []
    )
    tasks = (
        load_requests(settings.requests, settings.tasks, plan.model, digest, limit=limit) if settings.requests else {}
    )
    if not windows and not tasks:
        return None
    scorer = Scorer(model, batch_tokens=settings.batch_tokens, ranks=ranks)

    def evaluate() -> Row:
        with autocast(plan):
            found = perplexity(scorer, windows) | rank_classification(scorer, tasks)
        let_go(model)
        return found

    return evaluate


def _callbacks(
    plan: Plan,
    ranks: Ranks,
    run: RunFolder,
    checkpoints: Checkpoints,
    evaluate: Callable[[], Row] | None,
    resolved: dict[str, Any],
    ledger: DataOrder,
    masked: MaskedInstances | None,
    began: float,
) -> list[Callback]:
    """In this order: the row of a step is complete before it is written, and written before the step is saved. What
    only writes files is the first rank's."""

    def save(step: int, ephemeral: bool) -> Path:
        epoch, instance = plan.order.position(step + 1)
        progress = Progress(
            step=step,
            tokens_seen=plan.tokens_seen(step),
            epoch=epoch,
            next_instance=instance,
            masked_instances=0 if masked is None else masked.so_far(step),
        )
        return checkpoints.save(progress, ephemeral=ephemeral)

    settings = plan.config
    callbacks: list[Callback] = [ledger]
    if masked is not None:
        callbacks.append(masked)
    if evaluate is not None:
        callbacks.append(Evaluation(evaluate, interval=settings.evaluation.interval))
    if settings.optimizer.metrics_interval is not None:
        callbacks.append(WeightMetrics(interval=settings.optimizer.metrics_interval))
    memory = PeakMemory(ranks, log_interval=settings.log_interval)
    callbacks.append(memory)
    metrics = Metrics(
        run.metrics,
        log_interval=settings.log_interval,
        tokens_seen=plan.tokens_seen,
        memory=memory,
        flops_per_token=training_flops_per_token(plan.model, plan.sequence_length),
        peak_flops=_peak_flops(ranks, settings.peak_flops) if ranks.first else None,
        devices=ranks.world,
    )
    if ranks.first:
        callbacks.append(metrics)
    if evaluate is not None and settings.evaluation.on_load:
        callbacks.append(EvaluationOnLoad(evaluate, metrics, ranks))
    if ranks.first:
        if settings.early_stopping_factor is not None:
            callbacks.append(EarlyStopping(settings.early_stopping_factor, run.metrics, after_step=plan.warmup_steps))
        callbacks.append(Console(plan.tokens_seen))
        if settings.report_interval is not None:
            report = Report(
                run.report,
                run.metrics,
                run_name=resolved["run_name"],
                interval=settings.report_interval,
                log_interval=settings.log_interval,
                tokens_seen=plan.tokens_seen,
            )
            callbacks.append(report)
        if settings.tensorboard:
            from .callbacks.tensorboard import TensorBoard

            callbacks.append(TensorBoard(run.root / "tensorboard"))
        if settings.wandb.project is not None:
            from .callbacks.weights_and_biases import WeightsAndBiases

            callbacks.append(WeightsAndBiases(settings.wandb, run.root, resolved))
    if settings.time_limit is not None:
        callbacks.append(TimeLimit(began + settings.time_limit))
    callbacks.append(
        Checkpointing(
            save,
            checkpoints,
            interval=settings.checkpoint.save_interval,
            permanent_interval=settings.checkpoint.permanent_interval,
            ephemeral_interval=settings.checkpoint.ephemeral_interval,
        )
    )
    return callbacks


def _peak_flops(ranks: Ranks, setting: float | None) -> float | None:
    """The peak that MFU is measured against, and a line that says what it is."""
    peak = peak_of(ranks.device, setting)
    if peak is None:
        log.info("MFU is not told: the peak of this device is not known here; peak_flops sets it")
        return None
    log.info("MFU is measured against %.4g TFLOP/s: %s", peak.flops / 1e12, peak.source)
    return peak.flops


def describe_batch(plan: Plan, run: RunFolder, step: int) -> str:
    """Names the documents of a batch, in full in a file of the run folder; or says what keeps it from that, for what
    is told of the step has to be told without them too."""
    from .lookup import documents_of_instances

    file = run.root / f"batch_of_step{step}.json"
    try:
        rows = documents_of_instances(plan.instances, plan.order.batch(step).tolist())
        write_json(file, {"step": step, "documents": rows})
    except (UserError, OSError) as error:
        return f"documents that cannot be listed: {error}"
    names = list(dict.fromkeys(row["id"] for row in rows))
    shown = ", ".join(json.dumps(name, ensure_ascii=False) for name in names[:DOCUMENTS_SHOWN])
    more = f" and {len(names) - DOCUMENTS_SHOWN} more" if len(names) > DOCUMENTS_SHOWN else ""
    return f"the documents {shown}{more}, listed in {file}"


@contextmanager
def stopping_on_signals(trainer: Trainer) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks the trainer to stop after its step. After it SIGTERM changes nothing, for
    launchers and schedulers send several, and SIGINT acts as it always does."""
    before: dict[signal.Signals, Any] = {}
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = trainer.stop_requested = True
            log.info("%s: finishing the step and saving it", signal.Signals(number).name)
        elif number == signal.SIGINT:
            signal.signal(signal.SIGINT, before[signal.SIGINT])
            signal.raise_signal(signal.SIGINT)

    for which in (signal.SIGINT, signal.SIGTERM):
        before[which] = signal.signal(which, ask)
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
