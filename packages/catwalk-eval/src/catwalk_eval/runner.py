"""One run: requests to predictions and metrics, batch by batch, so that it can stop anywhere and go on."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .batches import Plan, Unit, make_plan
from .config import RunConfig
from .engine import Engine, Scored
from .errors import UserError
from .files import PARTIAL, atomic_artifact, write_json
from .journal import Journal
from .models import ModelFolder, choose_device, load, look_at
from .own_tasks import FILES
from .predictions import ROWS, compute_metrics, write_rows
from .progress import Progress
from .prompts import UNCONDITIONAL_CONTEXT
from .provenance import recorded
from .requests import INLOOP, TaskRequests, check_limit, input_files, load_requests, load_tasks, split_names
from .tokenize import Encoder, Pair
from .unigram import Unigram

BATCH_TOKENS_CPU = 4096
BATCH_TOKENS_ACCELERATOR = 65536
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
    plan: Plan
    digest: str
    """Of the token ids of all units, in order."""

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


def prepare(
    requests: TaskRequests, encoder: Encoder, maximum_length: int, batch_tokens: int, unigram: Unigram | None
) -> Prepared:
    """Tokenise a task and plan its batches.

    All choices of an instance see the same context: where the longest does not fit in ``maximum_length`` inputs,
    the context of all is cut from the left alike. A choice that alone is longer loses its own beginning, as in
    Catwalk and lm-evaluation-harness; its row says ``truncated`` and counts the tokens that are scored.
    """
    rows: list[dict[str, Any]] = []
    conditional: list[Unit] = []
    answer: list[Unit | None] = []
    empty: list[Unit | None] = []
    groups: list[list[Unit]] = []

    def units(pairs: Sequence[Pair]) -> list[Unit]:
        longest = min(maximum_length, max(len(pair.continuation_ids) for pair in pairs))
        return [
            Unit(pair.continuation_ids[-maximum_length - 1 : -maximum_length], pair.continuation_ids[-maximum_length:])
            if len(pair.continuation_ids) > maximum_length
            else Unit(fit(pair, maximum_length + 1 - longest), pair.continuation_ids)
            for pair in pairs
        ]

    for instance in requests.instances:
        texts = instance.continuations
        pairs = [encoder.pair(c, text) for c, text in zip(instance.contexts, texts, strict=True)]
        found = units(pairs)
        groups.append(found)
        conditional += found
        if instance.one_continuation:
            answer += [None] * len(texts)
            empty += [None] * len(texts)
        else:
            answer += units([encoder.pair(UNCONDITIONAL_CONTEXT, text) for text in texts])
            empty += units([encoder.pair("", text) for text in texts])
        for idx, (unit, pair) in enumerate(zip(found, pairs, strict=True)):
            rows.append(
                {
                    "doc_id": instance.doc_id,
                    "native_id": instance.native_id,
                    "idx": idx,
                    "label": instance.label,
                    "log_probability": None,
                    "tokens": len(unit.continuation),
                    "characters": len(texts[idx]),
                    "bytes": len(texts[idx].encode()),
                    "log_probability_answer": None,
                    "log_probability_empty": None,
                    "greedy": None,
                    "truncated": len(unit.context) + len(unit.continuation)
                    < len(pair.context_ids) + len(pair.continuation_ids),
                    "log_probability_unigram": (
                        None if unigram is None else unigram.log_probability(unit.continuation)
                    ),
                    "domain": instance.domain,
                }
            )
    groups += [[unit for unit in answer if unit is not None], [unit for unit in empty if unit is not None]]
    plan = make_plan(groups, batch_tokens)
    content = hashlib.sha256()
    for unit in plan.units:
        content.update(json.dumps([unit.context, unit.continuation]).encode())
    return Prepared(requests, rows, conditional, answer, empty, plan, "sha256:" + content.hexdigest())


def check_vocabulary(prepared: Prepared, size: int, folder: ModelFolder) -> None:
    """Ids that the model does not have are a UserError: the tokenizer is another model's."""
    highest = max(max(*unit.context, *unit.continuation) for unit in prepared.plan.units)
    if highest >= size:
        raise UserError(
            f"the tokenizer gives id {highest}, the model has ids below {size}",
            where=folder.tokenizer,
            fix="put the model's own tokenizer.json there",
        )


def score_task(prepared: Prepared, engine: Engine, journal: Journal) -> dict[Unit, Scored]:
    """Score what the journal does not hold yet; all units with their scores."""
    plan = prepared.plan
    before, started = engine.work.tokens, time.monotonic()
    padded = engine.work.padded
    todo = [number for number in range(len(plan.batches)) if number not in journal.batches]
    with Progress(prepared.requests.name, sum(len(g.units) for n in todo for g in plan.batches[n]), "requests") as bar:
        for number in todo:
            scored = engine.score(plan.units, plan.batches[number])
            if not all(math.isfinite(unit.log_probability) for unit in scored):
                raise UserError(
                    f"the model gives log-probabilities of {prepared.requests.name} that are no finite numbers",
                    where="model",
                    fix="try --dtype float32, or check the weights",
                )
            journal.add(number, scored)
            bar.advance(sum(len(group.units) for group in plan.batches[number]))
    seconds = time.monotonic() - started
    tokens, separate = engine.work.tokens - before, prepared.separate_tokens
    if len(todo) == len(plan.batches):
        log.info(
            "%s: forwarded %s tokens (%s with padding) in %.1f s; request by request it would be %s (%.2f of that)",
            prepared.requests.name,
            f"{tokens:,}",
            f"{engine.work.padded - padded:,}",
            seconds,
            f"{separate:,}",
            tokens / separate,
        )
    found = {scored.unit: scored for batch in journal.batches.values() for scored in batch}
    return {unit: found[number] for number, unit in enumerate(plan.units)}


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
    stated |= {"split": config.split, "limit-seed": config.limit_seed}
    for name, value in stated.items():
        if value is not None:
            raise UserError(f"--{name} does nothing with --requests", where=name, fix="leave it out")
    return [load_requests(name, config.requests, config.limit, config.shots) for name in split_names(config.tasks)]


def run(config: RunConfig) -> dict[str, Any]:
    """Score, write the predictions artifact to ``config.output`` and return its metrics."""
    check_limit(config.limit)
    for name, value in (("batch-tokens", config.batch_tokens), ("max-length", config.max_length)):
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}", where=name, fix="give 1 or more")
    tasks = tasks_of(config)
    folder = look_at(config.model)
    maximum_length = config.max_length or folder.maximum_length
    if maximum_length > folder.maximum_length:
        raise UserError(
            f"--max-length is {maximum_length}, the model reads at most {folder.maximum_length}",
            where=folder.path / "config.json",
            fix="give no more than that",
        )
    encoder = Encoder.load(folder.tokenizer, config.boundary)
    unigram = None if config.unigram is None else Unigram.load(config.unigram, encoder.digest)
    device = choose_device(config.device)
    batch_tokens = config.batch_tokens or (BATCH_TOKENS_CPU if device == "cpu" else BATCH_TOKENS_ACCELERATOR)
    prepared = [prepare(task, encoder, maximum_length, batch_tokens, unigram) for task in tasks]
    for name, count in ((p.requests.name, sum(row["truncated"] for row in p.rows)) for p in prepared):
        if count:
            log.warning("%s: %d requests are longer and cut to %d tokens", name, count, maximum_length)
    model = load(folder, device, config.dtype)
    for task in prepared:
        check_vocabulary(task, model.get_input_embeddings().num_embeddings, folder)
    engine = Engine(model)
    dtype = str(model.dtype).removeprefix("torch.")
    scores_folder = config.output.with_name(config.output.name + ".scores" + PARTIAL)
    with atomic_artifact(config.output, "predictions") as output:
        inputs = [*input_files(tasks), folder.tokenizer]
        inputs += [] if config.unigram is None else [config.unigram]
        with recorded("catwalk-eval", "run", folder=output, config=config, inputs=inputs) as record:
            for task in prepared:
                key = {
                    "weights": folder.digest,
                    "tokenizer": encoder.digest,
                    "requests": task.digest,
                    "boundary": config.boundary,
                    "dtype": dtype,
                    "device": device,
                    "maximum_length": maximum_length,
                    "batch_tokens": batch_tokens,
                }
                journal = Journal(scores_folder / f"{task.requests.name}.jsonl", key)
                try:
                    scores = score_task(task, engine, journal)
                finally:
                    journal.close()
                write_rows(output / task.requests.name / ROWS, fill_rows(task, scores))
                write_json(output / task.requests.name / "task.json", task.requests.description(config.boundary))
                record.counts[task.requests.name] = counts(task)
            write_json(
                output / "manifest.json",
                {
                    "artifact": "predictions",
                    "format_version": 1,
                    "model": {"name": folder.path.resolve().name, "digest": folder.digest},
                    "tokenizer_digest": encoder.digest,
                    "dtype": dtype,
                    "maximum_length": maximum_length,
                    "boundary": config.boundary,
                    "tasks": [task.requests.name for task in prepared],
                    "counts": {task.requests.name: counts(task) for task in prepared},
                },
            )
            metrics = compute_metrics(output)
            write_json(output / "metrics.json", metrics)
    shutil.rmtree(scores_folder)
    return metrics


def counts(task: Prepared) -> dict[str, int]:
    """Instances, and rows of predictions."""
    return {"instances": len(task.requests.instances), "requests": len(task.rows)}
