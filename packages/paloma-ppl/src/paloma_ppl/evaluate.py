"""Perplexity of a model over a suite."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .config import RunConfig
from .engine import Ledger, token_log_probabilities
from .errors import UserError
from .files import PARTIAL, atomic_artifact
from .metrics import document_score
from .model import check_folder, check_vocabulary, choose_device, load_model, maximum_length, weights_digest
from .provenance import recorded
from .results import ARTIFACT, Description, vocabulary_sums, write_results
from .statistics import check_confidence
from .suite import Suite, open_suite, read_split
from .tokenizer import LoadedTokenizer, load_tokenizer
from .windows import encode_documents, make_windows

log = logging.getLogger(__name__)


def ledger_path(output: Path) -> Path:
    """Where finished batches are kept until the results are whole."""
    return output.with_name(output.name + ".batches" + PARTIAL)


@dataclass(frozen=True)
class Plan:
    """What the settings come to, before the model is loaded."""

    tokenizer: LoadedTokenizer
    prefix: int
    maximum_length: int
    device: torch.device
    suite: Suite


def resolve(config: RunConfig) -> Plan:
    """Check the settings and open everything but the weights."""
    check_confidence(config.confidence)
    check_folder(config.model)
    if config.batch_tokens < 1:
        raise UserError(f"{config.batch_tokens} tokens in a batch", where="batch_tokens", fix="give 1 or more")
    tokenizer = load_tokenizer(config.model)
    return Plan(
        tokenizer,
        tokenizer.prefix(config.prefix_token_id, config.format),
        maximum_length(config.model, config.max_length),
        choose_device(config.device),
        open_suite(config.suite),
    )


def evaluate(config: RunConfig) -> dict[str, Any]:
    """Score every document of the split, write the results artifact and return its ``results.json``."""
    plan = resolve(config)
    tokenizer, suite, device = plan.tokenizer, plan.suite, plan.device
    documents = list(read_split(suite, config.split, config.limit))
    model = load_model(config.model, device, config.dtype)
    check_vocabulary(model, tokenizer)
    ids = encode_documents(documents, tokenizer)
    keys = [(document.source, document.domain) for document in documents]
    windows = list(make_windows(keys, ids, plan.maximum_length, plan.prefix, config.format))
    description = Description(
        method="model",
        model={"name": config.model.resolve().name, "digest": weights_digest(config.model)},
        suite=suite.name,
        suite_digest=suite.digest,
        split=config.split,
        format=config.format,
        maximum_length=plan.maximum_length,
        tokenizer_digest=tokenizer.digest,
        dtype=config.dtype,
        limit=config.limit,
        vocab_size=tokenizer.vocab_size,
    )
    log.info("%d documents, %d windows, prefix token %d, %s", len(documents), len(windows), plan.prefix, device)
    key = {
        "weights": description.model,
        "tokenizer": tokenizer.digest,
        "suite": suite.digest,
        "split": config.split,
        "limit": config.limit,
        "format": config.format,
        "maximum_length": plan.maximum_length,
        "prefix": plan.prefix,
        "dtype": config.dtype,
        "batch_tokens": config.batch_tokens,
        "device": device.type,
    }
    ledger = Ledger(ledger_path(config.output), key)
    with (
        recorded("paloma-ppl", "run", folder=config.output, config=config, inputs=[config.suite]) as record,
        atomic_artifact(config.output, ARTIFACT) as folder,
    ):
        values = token_log_probabilities(model, windows, [len(part) for part in ids], config.batch_tokens, ledger)
        scores = []
        for document, value in zip(documents, values, strict=True):
            total = float(np.sum(value, dtype=np.float64))
            if not math.isfinite(total):
                raise UserError(
                    f"the model gives log-probabilities that are no finite numbers, in document {document.id} of "
                    f"{document.source}",
                    where=config.model,
                    fix="try --dtype float32, or check the weights",
                )
            scores.append(document_score(document, len(value), total))
        vocabulary = vocabulary_sums(ids, values, tokenizer.vocab_size)
        results = write_results(folder, description, scores, vocabulary, config.confidence)
        record.outputs = [config.output]
        record.counts = {"documents": len(scores), "windows": len(windows), "tokens": sum(map(len, ids))}
    ledger.path.unlink(missing_ok=True)
    return results
