"""Runs in processes of their own, which begin as copies of one that has loaded torch and transformers already."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.process import BaseProcess

from paloma_ppl.config import RunConfig

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["paloma_ppl.evaluate", "transformers.models.olmo.modeling_olmo", "separate"])


def start(config: RunConfig, environment: Mapping[str, str] | None = None) -> BaseProcess:
    """Begin a run with further variables in its environment; its exit code is 0 where it comes to its end."""
    process = _CONTEXT.Process(target=_run, args=(config, dict(environment or {})))
    process.start()
    return process


def _run(config: RunConfig, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    import torch

    from paloma_ppl.evaluate import evaluate

    torch.set_num_threads(1)
    evaluate(config)
