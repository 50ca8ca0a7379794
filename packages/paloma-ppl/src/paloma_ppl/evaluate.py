"""Perplexity of a model over a suite."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .blocks import SingleDocuments
from .config import RunConfig
from .engine import Engine
from .errors import UserError
from .files import PARTIAL, atomic_artifact, check_replaceable, read_json
from .ledger import Ledger
from .likelihood import Floats
from .metrics import DocumentScore, document_score
from .model import check_vocabulary, load_model, maximum_length, training_so_far
from .model_place import locate
from .model_weights import (
    check_device_map,
    choose_device,
    resolve_dtype,
    stated_dtype,
    weight_files,
    weights_digest,
)
from .positions import Positions
from .processes import joined
from .progress import Progress
from .provenance import recorded
from .results import ARTIFACT, Description, name_and_revision, write_results
from .statistics import check_confidence
from .suite import Suite, SuiteDocument, open_suite, read_split
from .tokenizer import Ids, LoadedTokenizer, load_tokenizer
from .windows import Part, Window, check_encodable, encoded, stream_windows
from .worst import (
    DOMAIN_VOCABULARY_FILE,
    SHOWN_CHARACTERS,
    SHOWN_TOKENS,
    WORST_FILE,
    DomainVocabulary,
    Worst,
)

log = logging.getLogger(__name__)
BATCH_TOKENS_CPU = 2048
BATCH_TOKENS_ACCELERATOR = 65536


def ledger_path(output: Path) -> Path:
    """Folder where finished batches are kept until the results are whole."""
    return output.with_name(output.name + ".batches" + PARTIAL)


@dataclass(frozen=True)
class Plan:
    """What the settings come to, before the model is loaded."""

    folder: Path
    tokenizer: LoadedTokenizer
    prefix: int
    maximum_length: int
    device: torch.device
    dtype: str
    batch_tokens: int
    suite: Suite


def resolve(config: RunConfig, local_rank: int = 0) -> Plan:
    """Check the settings and open everything but the weights."""
    check_confidence(config.confidence)
    check_device_map(config.device_map, config.device)
    if config.batch_tokens is not None and config.batch_tokens < 1:
        raise UserError(f"{config.batch_tokens} tokens in a batch", where="batch_tokens", fix="give 1 or more")
    folder = locate(str(config.model), config.revision, config.download)
    weight_files(folder)
    tokenizer = load_tokenizer(folder)
    device = torch.device(choose_device(config.device, local_rank))
    return Plan(
        folder,
        tokenizer,
        tokenizer.prefix(config.prefix_token_id, config.format),
        maximum_length(folder, config.max_length),
        device,
        resolve_dtype(config.dtype, stated_dtype(read_json(folder / "config.json")), device.type),
        config.batch_tokens or (BATCH_TOKENS_CPU if device.type == "cpu" else BATCH_TOKENS_ACCELERATOR),
        open_suite(config.suite),
    )


@dataclass
class Open:
    """A document some of whose windows are scored."""

    document: SuiteDocument
    """With the beginning of its text alone."""
    unscored: DocumentScore
    left: int
    log_probability: float = 0.0
    shown: int = 0
    ids: list[Ids] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)


class Scores:
    """Documents as they are read, and their scores as the windows come back; no text and no token stays for long."""

    def __init__(self, tokenizer: LoadedTokenizer, maximum_length: int) -> None:
        self.open: dict[int, Open] = {}
        self.finished: dict[int, DocumentScore] = {}
        self.vocabulary = DomainVocabulary()
        self.positions = Positions(maximum_length)
        self.singles = SingleDocuments(tokenizer.tokenizer, maximum_length)
        self.worst = Worst(tokenizer)
        self.documents = self.tokens = self.bytes = self.windows = 0

    def reading(self, documents: Iterator[tuple[SuiteDocument, Ids]]) -> Iterator[tuple[int, tuple[str, str], Ids]]:
        """Pass documents on, numbered, and remember what their scores will need."""
        for number, (document, ids) in enumerate(documents):
            unscored = document_score(document, len(ids), 0.0)
            beginning = SuiteDocument(document.id, document.text[:SHOWN_CHARACTERS], document.source, document.domain)
            self.open[number] = Open(beginning, unscored, len(ids))
            self.singles.read(document, ids)
            self.documents += 1
            self.tokens += len(ids)
            self.bytes += unscored.bytes
            yield number, (document.source, document.domain), ids

    def take(self, window: Window, values: Floats) -> None:
        """Add the log-probabilities of a window's scored tokens."""
        self.windows += 1
        begin = 0
        for part in window.parts:
            size = part.stop - part.start
            self.take_part(part, window.ids[part.start : part.stop], values[begin : begin + size], len(window.ids) - 1)
            begin += size

    def take_part(self, part: Part, ids: Ids, values: Floats, window_length: int) -> None:
        opened = self.open[part.document]
        score = opened.unscored
        if not np.isfinite(values).all():
            raise UserError(
                f"the model gives log-probabilities that are no finite numbers, in document {score.id} of "
                f"{score.source}",
                where="model",
                fix="try --dtype float32, or check the weights",
            )
        self.vocabulary.add((score.source, score.domain), ids, values)
        self.positions.add(score.source, window_length, part.start - 1, values)
        self.singles.add((score.source, score.domain), part.number, values)
        opened.log_probability += float(np.sum(values, dtype=np.float64))
        if opened.shown < SHOWN_TOKENS:
            opened.ids.append(ids[: SHOWN_TOKENS - opened.shown])
            opened.values.append(values[: SHOWN_TOKENS - opened.shown])
            opened.shown += len(opened.ids[-1])
        opened.left -= len(values)
        if not opened.left:
            del self.open[part.document]
            whole = replace(score, log_probability=min(0.0, opened.log_probability))
            self.finished[part.document] = whole
            shown = np.concatenate(opened.ids), np.concatenate(opened.values)
            self.worst.add(part.document, whole, opened.document.text, *shown)

    def in_order(self) -> list[DocumentScore]:
        """All scores in the order of the suite, when all windows have come back."""
        assert not self.open
        self.vocabulary.finish()
        return [self.finished[number] for number in range(self.documents)]


def numbered(documents: Iterable[tuple[SuiteDocument, Ids]]) -> Iterator[tuple[int, tuple[str, str], Ids]]:
    for number, (document, ids) in enumerate(documents):
        yield number, (document.source, document.domain), ids


def evaluate(config: RunConfig) -> dict[str, Any] | None:
    """Score every document of the split, write the results artifact and return its ``results.json``.

    Under torchrun every process scores its share; the first writes, the others return None.
    """
    check_device_map(config.device_map, config.device)  # before processes wait for each other
    with joined() as processes, offload_folder(config) as offload:
        plan = resolve(config, processes.local_rank)
        check_replaceable(config.output, ARTIFACT)
        tokenizer, suite = plan.tokenizer, plan.suite
        total = check_encodable(read_split(suite, config.split, config.limit), tokenizer)
        model = load_model(plan.folder, plan.device, plan.dtype, config.device_map, offload)
        check_vocabulary(model, tokenizer)
        training = training_so_far(plan.folder)
        description = Description(
            method="model",
            model={
                **name_and_revision(str(config.model), config.revision, checkpoint="step" in training),
                "digest": weights_digest(plan.folder),
                "parameters": sum(weight.numel() for weight in model.model.parameters()),
                **training,
            },
            suite=suite.name,
            suite_digest=suite.digest,
            split=config.split,
            format=config.format,
            maximum_length=plan.maximum_length,
            tokenizer_digest=tokenizer.digest,
            dtype=plan.dtype,
            limit=config.limit,
            vocab_size=tokenizer.vocab_size,
        )
        key = {
            "weights": description.model,
            "tokenizer": tokenizer.digest,
            "suite": suite.digest,
            "split": config.split,
            "limit": config.limit,
            "format": config.format,
            "maximum_length": plan.maximum_length,
            "prefix": plan.prefix,
            "dtype": plan.dtype,
            "batch_tokens": plan.batch_tokens,
            "device": plan.device.type,
        }
        threads = torch.get_num_threads()
        log.info(
            "prefix token %d, %s, %s, %d tokens a batch, %d threads",
            plan.prefix, plan.device, plan.dtype, plan.batch_tokens, threads,
        )  # fmt: skip
        ledger = Ledger(ledger_path(config.output), key, plan.dtype, processes.rank)
        engine = Engine(model, ledger, plan.batch_tokens, processes)
        scores = Scores(tokenizer, plan.maximum_length)
        documents = encoded(read_split(suite, config.split, config.limit), tokenizer)
        read = scores.reading(documents) if processes.rank == 0 else numbered(documents)
        windows = stream_windows(read, plan.maximum_length, plan.prefix, config.format)
        try:
            with Progress("scoring", unit="tokens") as progress:

                def advance(tokens: int, earlier: bool) -> None:
                    if scores.bytes:  # texts that are not read yet are taken to have as many tokens a byte
                        progress.expect(total * scores.tokens / scores.bytes)
                    progress.advance(tokens, earlier)

                for window, values in engine.score(windows, advance):
                    scores.take(window, values)
        finally:
            ledger.close()
        if processes.rank > 0:
            return None
        results = write(config, description, scores)
    shutil.rmtree(ledger.folder, ignore_errors=True)
    return results


def write(config: RunConfig, description: Description, scores: Scores) -> dict[str, Any]:
    """Write the results artifact."""
    with (
        recorded("paloma-ppl", "run", folder=config.output, config=config, inputs=[config.suite]) as record,
        atomic_artifact(config.output, ARTIFACT) as folder,
    ):
        documents = scores.in_order()
        vocabulary = scores.vocabulary.total(description.vocab_size or 0)
        positions = scores.positions.finished(dict.fromkeys(score.source for score in documents))
        order = list(dict.fromkeys((score.source, score.domain) for score in documents))
        windows = scores.singles.finished(order)
        results = write_results(folder, description, documents, vocabulary, config.confidence, positions, windows)
        scores.worst.write(folder / WORST_FILE, order)
        scores.vocabulary.write(folder / DOMAIN_VOCABULARY_FILE, order)
        record.outputs = [config.output]
        record.counts = {"documents": scores.documents, "windows": scores.windows, "tokens": scores.tokens}
        record.counts["threads"] = torch.get_num_threads()
    return results


@contextmanager
def offload_folder(config: RunConfig) -> Iterator[Path | None]:
    """A folder for weights that fit into no memory, as long as the run lasts."""
    if config.device_map is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="paloma-ppl-offload-") as folder:
        yield Path(folder)
