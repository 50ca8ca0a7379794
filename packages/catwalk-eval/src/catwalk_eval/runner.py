"""One run: requests to predictions and metrics, batch by batch, so that it can stop anywhere and go on."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .batches import Plan, Scored, Unit, make_plan
from .cache import NAME as CACHE
from .cache import VERSION, Cache
from .config import Boundary, RunConfig
from .errors import UserError
from .files import PARTIAL, atomic_artifact, check_replaceable, write_json
from .journal import Journal, known_scores
from .model_place import locate, name_of
from .model_weights import check_device_map, choose_device, load_weights, resolve_dtype
from .models import ModelFolder, look_at
from .own_tasks import FILES
from .precision import TOLERANCES, close_calls
from .predictions import ROWS, compute_metrics, write_rows
from .processes import Processes, joined
from .progress import Progress
from .prompts import UNCONDITIONAL_CONTEXT
from .provenance import recorded
from .requests import (
    INLOOP,
    TaskRequests,
    check_limit,
    input_files,
    load_requests,
    load_tasks,
    split_names,
    write_text_form,
)
from .tokenize import Differences, Encoder, Pair
from .unigram import Unigram

if TYPE_CHECKING:
    from .engine import Engine

BATCH_TOKENS_CPU = 2048
BATCH_TOKENS_ACCELERATOR = 65536
FORMAT_VERSION = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A task ready to be scored: prediction rows without their scores, and the units that give them."""

    requests: TaskRequests
    rows: list[dict[str, Any]]
    conditional: list[Unit]
    answer: list[Unit | None]
    """Under the context ``Answer:``; None where all choices have the same continuation."""
    empty: list[Unit | None]
    instances: list[list[Unit]]
    """Units that are scored together: those of an instance, then the unconditional ones."""
    differences: Differences

    @property
    def units(self) -> list[Unit]:
        """All distinct units, in order of first appearance."""
        return list(dict.fromkeys(unit for instance in self.instances for unit in instance))

    @property
    def separate_tokens(self) -> int:
        """Tokens that would be forwarded if every request were scored by itself."""
        all_units = [*self.conditional, *self.answer, *self.empty]
        return sum(len(unit.context) + len(unit.continuation) - 1 for unit in all_units if unit is not None)


def fit(pair: Pair, keep: int) -> tuple[int, ...]:
    """The context cut from the left to ``keep`` tokens; what the tokenizer put first (a BOS) stays."""
    ids, leading = pair.context_ids, pair.leading
    if len(ids) <= keep:
        return ids
    if keep <= leading:
        return ids[-keep:]
    return ids[:leading] + ids[len(ids) - (keep - leading) :]


def prepare(requests: TaskRequests, encoder: Encoder, maximum_length: int, unigram: Unigram | None) -> Prepared:
    """Tokenise a task.

    All choices of an instance see the same context: where the longest does not fit in ``maximum_length`` inputs,
    the context of all is cut from the left alike. A choice that alone is longer loses its own beginning, as in
    Catwalk and lm-evaluation-harness; its row says ``truncated`` and counts the tokens that are scored.
    """
    rows: list[dict[str, Any]] = []
    conditional: list[Unit] = []
    answer: list[Unit | None] = []
    empty: list[Unit | None] = []
    groups: list[list[Unit]] = []
    differences = Differences()

    def units(pairs: Sequence[Pair]) -> list[Unit]:
        longest = min(maximum_length, max(len(pair.continuation_ids) for pair in pairs))
        return [
            Unit(pair.continuation_ids[-maximum_length - 1 : -maximum_length], pair.continuation_ids[-maximum_length:])
            if len(pair.continuation_ids) > maximum_length
            else Unit(fit(pair, maximum_length + 1 - longest), pair.continuation_ids)
            for pair in pairs
        ]

    texts = [pair for one in requests.instances for pair in zip(one.contexts, one.continuations, strict=True)]
    encoded = iter(encoder.pairs(texts, differences))
    for instance in requests.instances:
        choices = instance.continuations
        pairs = [next(encoded) for _ in choices]
        found = units(pairs)
        groups.append(found)
        conditional += found
        if instance.one_continuation:
            answer += [None] * len(choices)
            empty += [None] * len(choices)
        else:
            answer += units(encoder.pairs([(UNCONDITIONAL_CONTEXT, text) for text in choices]))
            empty += units(encoder.pairs([("", text) for text in choices]))
        for idx, (unit, pair) in enumerate(zip(found, pairs, strict=True)):
            text = choices[idx]
            bare = text.removeprefix(" ")
            rows.append(
                {
                    "doc_id": instance.doc_id,
                    "native_id": instance.native_id,
                    "idx": idx,
                    "label": instance.label,
                    "log_probability": None,
                    "tokens": len(unit.continuation),
                    "characters": len(text),
                    "bytes": len(text.encode()),
                    "characters_bare": len(bare),
                    "bytes_bare": len(bare.encode()),
                    "log_probability_answer": None,
                    "log_probability_empty": None,
                    "greedy": None,
                    "truncated": len(unit.context) + len(unit.continuation)
                    < len(pair.context_ids) + len(pair.continuation_ids),
                    "log_probability_unigram": (
                        None if unigram is None else unigram.log_probability(unit.continuation)
                    ),
                    "domain": instance.domain,
                    "cluster": instance.cluster,
                }
            )
    groups += [[unit for unit in answer if unit is not None], [unit for unit in empty if unit is not None]]
    return Prepared(requests, rows, conditional, answer, empty, groups, differences)


def check_vocabulary(units: Sequence[Unit], size: int, folder: ModelFolder) -> None:
    """Ids that the model does not have are a UserError: the tokenizer is another model's."""
    highest = max(max(*unit.context, *unit.continuation) for unit in units)
    if highest >= size:
        raise UserError(
            f"the tokenizer gives id {highest}, the model has ids below {size}",
            where=folder.tokenizer,
            fix="put the model's own tokenizer.json there",
        )


def digest_of(units: Iterable[Unit]) -> str:
    """Digest of the token ids of all units, in order."""
    content = hashlib.sha256()
    for unit in units:
        for ids in (unit.context, unit.continuation):
            content.update(len(ids).to_bytes(4, "little") + np.array(ids, dtype="<u4").tobytes())
    return "sha256:" + content.hexdigest()


@dataclass
class Scorer:
    """What all tasks of a run are scored with. The engine is made when the first request needs it."""

    key: Mapping[str, Any]
    make_engine: Callable[[], Engine]
    cache: Cache
    folder: Path
    processes: Processes
    batch_tokens: int
    batch_size: int | None
    engine: Engine | None = None

    def score(self, task: Prepared) -> tuple[dict[Unit, Scored], dict[str, int]]:
        """Scores of all units of a task, and counts of what it took; what was scored before is not forwarded."""
        name, units = task.requests.name, task.units
        key = {**self.key, "requests": digest_of(units), "cache": self.cache.folder is not None}
        known = known_scores(self.folder, name, key, lambda: self.cache.find(units), self.processes)
        missing = {unit for place, unit in enumerate(units) if place not in known}
        scores = {units[place]: scored for place, scored in known.items()}
        if not missing:
            log.info("%s: all %d requests were scored before", name, len(units))
            return scores, {"distinct": len(units), "cached": len(known), "forwarded_tokens": 0}
        engine = self.engine = self.engine or self.make_engine()
        plan = make_plan(
            [[unit for unit in instance if unit in missing] for instance in task.instances],
            self.batch_tokens,
            self.batch_size,
            shared=engine.shared,
        )
        key = {**self.key, "requests": digest_of(plan.units), "shared": engine.shared}
        key |= {"batch_tokens": self.batch_tokens, "batch_size": self.batch_size}
        journal = Journal(self.folder, name, key, self.processes.rank)
        try:
            self.processes.wait()  # nobody begins before all have read what is done
            mine = score_plan(plan, engine, journal, self.processes, name, task.separate_tokens)
            forwarded = self.processes.total(mine)
            journal.gather()
        finally:
            journal.close()
        found = {scored.unit: scored for batch in journal.batches.values() for scored in batch}
        fresh = [(unit, found[number]) for number, unit in enumerate(plan.units)]
        scores |= fresh
        if self.processes.rank == 0:
            self.cache.keep(fresh)
        counts = {"distinct": len(units), "cached": len(known), "forwarded_tokens": forwarded}
        return scores, counts | {"plan_tokens": plan.tokens, "separate_tokens": task.separate_tokens}


def score_plan(
    plan: Plan, engine: Engine, journal: Journal, processes: Processes, name: str, separate_tokens: int
) -> int:
    """Score this process's share of what the journal does not hold yet; returns the number of forwarded tokens."""
    before, started = engine.work.tokens, time.monotonic()
    todo = [number for number in range(len(plan.batches)) if number not in journal.batches]
    mine = todo[processes.rank :: processes.count]
    engine.parts = journal.parts
    with Progress(name, sum(len(plan.batches[number].units) for number in mine), "requests") as bar:
        for number in mine:
            scored = engine.score(plan.units, plan.batches[number])
            if not all(math.isfinite(unit.log_probability) for unit in scored):
                raise UserError(
                    f"the model gives log-probabilities of {name} that are no finite numbers",
                    where="model",
                    fix="try --dtype float32, or check the weights",
                )
            journal.add(number, scored, engine.parts)
            bar.advance(len(scored))
    tokens = engine.work.tokens - before
    if len(mine) == len(plan.batches):
        log.info(
            "%s: forwarded %s tokens in %.1f s; request by request it would be %s (%.2f of that)",
            name,
            f"{tokens:,}",
            time.monotonic() - started,
            f"{separate_tokens:,}",
            tokens / separate_tokens,
        )
    return tokens


def fill_rows(prepared: Prepared, scores: dict[Unit, Scored]) -> list[dict[str, Any]]:
    """Prediction rows with their scores."""
    filled = []
    for row, unit, answer, empty in zip(
        prepared.rows, prepared.conditional, prepared.answer, prepared.empty, strict=True
    ):
        filled.append(
            row
            | {
                "log_probability": scores[unit].log_probability,
                "log_probability_answer": None if answer is None else scores[answer].log_probability,
                "log_probability_empty": None if empty is None else scores[empty].log_probability,
                "greedy": scores[unit].greedy,
            }
        )
    return filled


def tasks_of(config: RunConfig) -> list[TaskRequests]:
    """The instances of all tasks, from task data or from requests; impossible combinations are a UserError."""
    named = all(name.endswith(FILES) for name in split_names(config.tasks))
    if (config.data is None) == (config.requests is None) and not (named and config.requests is None):
        raise UserError("give either --data or --requests", fix="--data builds the requests, --requests reads them")
    if config.requests is None:
        return load_tasks(config, config.dialect or INLOOP)
    stated: dict[str, object] = {"dialect": config.dialect, "shots-from": config.shots_from}
    stated |= {"split": config.split, "limit-seed": config.limit_seed, "seed": config.seed}
    for name, value in stated.items():
        if value is not None:
            raise UserError(f"--{name} does nothing with --requests", where=name, fix="leave it out")
    return [load_requests(name, config.requests, config.limit, config.shots) for name in split_names(config.tasks)]


def boundary_of(config: RunConfig, tasks: Sequence[TaskRequests]) -> Boundary:
    """The boundary policy: as stated, else that of the requests; one that their token ids contradict is a UserError."""
    for task in tasks:
        if config.boundary not in (None, task.boundary) and task.tokenizer_digest is not None:
            raise UserError(
                f"the token ids of {task.name} were made with the boundary {task.boundary}, not {config.boundary}",
                where=task.source.parent,
                fix="leave --boundary out, or make the requests again",
            )
    if config.boundary is not None:
        return config.boundary
    made: dict[Boundary, str] = {task.boundary: task.name for task in tasks if task.boundary is not None}
    if len(made) > 1:
        raise UserError(
            "the requests were made with several boundaries: "
            + ", ".join(f"{made[key]} {key}" for key in sorted(made)),
            where=config.requests,
            fix="run them apart, or give --boundary",
        )
    return next(iter(made), "separate")


def check_tokenizer(encoder: Encoder, tasks: Sequence[TaskRequests], folder: ModelFolder) -> None:
    """Requests whose token ids are those of another tokenizer than the model's are a UserError."""
    for task in tasks:
        if task.tokenizer_digest not in (None, encoder.digest):
            raise UserError(
                f"the token ids of {task.name} are those of another tokenizer than {folder.tokenizer}",
                where=task.source.parent,
                fix="make the requests again with --tokenizer of this model, or without",
            )


def check_cache(folder: Path | None) -> None:
    """A cache that cannot be a folder is a UserError."""
    if folder is not None:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise UserError("the cache is no folder", where=there, fix="give another --cache")


def run(config: RunConfig) -> dict[str, Any] | None:
    """Score, write the predictions artifact to ``config.output`` and return its metrics.

    Under torchrun every process scores its share; the first writes, the others return None.
    """
    check_limit(config.limit)
    check_device_map(config.device_map, config.device)
    counts = {"batch-tokens": config.batch_tokens, "batch-size": config.batch_size, "max-length": config.max_length}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}", where=name, fix="give 1 or more")
    tasks = tasks_of(config)
    folder = look_at(locate(config.model, config.revision, config.download))
    maximum_length = config.max_length or folder.maximum_length
    if maximum_length > folder.maximum_length:
        raise UserError(
            f"--max-length is {maximum_length}, the model reads at most {folder.maximum_length}",
            where=folder.path / "config.json",
            fix="give no more than that",
        )
    check_replaceable(config.output, "predictions")
    check_cache(cache_folder(config))
    boundary = boundary_of(config, tasks)
    encoder = Encoder.load(folder.tokenizer, boundary)
    check_tokenizer(encoder, tasks, folder)
    unigram = None if config.unigram is None else Unigram.load(config.unigram, encoder.digest)
    with joined() as processes, offload_folder(config) as offload:
        device = choose_device(config.device, processes.local_rank)
        dtype = resolve_dtype(config.dtype, folder.dtype, device)
        batch_tokens = config.batch_tokens or (BATCH_TOKENS_CPU if device == "cpu" else BATCH_TOKENS_ACCELERATOR)
        prepared = [prepare(task, encoder, maximum_length, unigram) for task in tasks]
        for name, count in ((p.requests.name, sum(row["truncated"] for row in p.rows)) for p in prepared):
            if count:
                log.warning("%s: %d requests are longer and cut to %d tokens", name, count, maximum_length)

        def make_engine() -> Engine:
            from .engine import Engine  # loads transformers, which takes longer than a run with nothing new

            engine = Engine(load_weights(folder.path, device, dtype, config.device_map, offload))
            for task in prepared:
                check_vocabulary(task.units, engine.vocabulary_size, folder)
            return engine

        key = {
            "weights": folder.digest,
            "tokenizer": encoder.digest,
            "boundary": boundary,
            "dtype": dtype,
            "device": device.partition(":")[0],
            "engine": VERSION,
            "torch": minor_version("torch"),
            "transformers": minor_version("transformers"),
        }
        scorer = Scorer(
            key=key,
            make_engine=make_engine,
            cache=Cache(cache_folder(config), key),
            folder=config.output.with_name(config.output.name + ".scores" + PARTIAL),
            processes=processes,
            batch_tokens=batch_tokens,
            batch_size=config.batch_size,
        )
        scored = [scorer.score(task) for task in prepared]
        processes.wait()  # until all have read the files that are removed below
        if processes.rank > 0:
            return None
        manifest = {
            "artifact": "predictions",
            "format_version": FORMAT_VERSION,
            "model": {"name": name_of(config.model, config.revision), "digest": folder.digest},
            "tokenizer_digest": encoder.digest,
            "dtype": dtype,
            "maximum_length": maximum_length,
            "boundary": boundary,
            "tasks": [task.requests.name for task in prepared],
        }
        metrics = write(config, folder, prepared, scored, manifest)
        shutil.rmtree(scorer.folder, ignore_errors=True)
        return metrics


def write(
    config: RunConfig,
    folder: ModelFolder,
    prepared: Sequence[Prepared],
    scored: Sequence[tuple[dict[Unit, Scored], dict[str, int]]],
    manifest: dict[str, Any],
) -> dict[str, Any]:
    """Write the predictions artifact."""
    inputs = [*input_files([task.requests for task in prepared]), folder.tokenizer]
    inputs += [] if config.unigram is None else [config.unigram]
    with (
        atomic_artifact(config.output, "predictions") as output,
        recorded("catwalk-eval", "run", folder=output, config=config, inputs=inputs) as record,
    ):
        close = {}
        for task, (scores, work) in zip(prepared, scored, strict=True):
            name = task.requests.name
            rows = fill_rows(task, scores)
            write_rows(output / name / ROWS, rows)
            write_text_form(output / name, task.requests)
            write_json(output / name / "task.json", task.requests.description(manifest["boundary"]))
            close[name] = close_calls(rows, task.requests.primary_metric, TOLERANCES[manifest["dtype"]])
            record.counts[name] = counts(task) | work
        manifest |= {
            "counts": {task.requests.name: counts(task) for task in prepared},
            "boundary_differences": {task.requests.name: asdict(task.differences) for task in prepared},
            "precision": {"tolerance": TOLERANCES[manifest["dtype"]], "close": close},
        }
        write_json(output / "manifest.json", manifest)
        metrics = compute_metrics(output)
        write_json(output / "metrics.json", metrics)
    report(manifest)
    return metrics


def report(manifest: Mapping[str, Any]) -> None:
    """Say on how many requests the boundary policies differ, and how many decisions rounding could turn."""
    for task, found in manifest["boundary_differences"].items():
        if found["separate_joint"] or found["joint_joint_safe"]:
            log.info(
                "%s: of %d requests, token ids differ on %d between separate and joint, %d between separate and "
                "joint-safe, %d between joint and joint-safe",
                task, found["requests"], found["separate_joint"], found["separate_joint_safe"],
                found["joint_joint_safe"],
            )  # fmt: skip
    for task, number in manifest["precision"]["close"].items():
        if number:
            log.info("%s: %d predictions have a margin below the rounding error of %s", task, number, manifest["dtype"])


def minor_version(package: str) -> str:
    """``major.minor`` of an installed package: numbers may change with either."""
    return ".".join(version(package).split(".")[:2])


def cache_folder(config: RunConfig) -> Path | None:
    """Where scores are kept for later runs."""
    if config.cache == "none":
        return None
    return config.output.with_name(CACHE) if config.cache == "beside" else Path(config.cache)


@contextmanager
def offload_folder(config: RunConfig) -> Iterator[Path | None]:
    """A folder for weights that fit into no memory, as long as the run lasts."""
    if config.device_map is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="catwalk-eval-offload-") as folder:
        yield Path(folder)


def counts(task: Prepared) -> dict[str, int]:
    """Instances, and rows of predictions."""
    return {"instances": len(task.requests.instances), "requests": len(task.rows)}
