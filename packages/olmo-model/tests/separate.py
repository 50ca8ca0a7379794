"""Processes of their own, which begin as copies of one that has loaded torch already."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "olmo_model.train",
        "olmo_model.convert.command",
        "torch.distributed.checkpoint.state_dict_saver",
        "transformers",
        "hypothesis",
    ]
)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns in a process of its own; what it raises is raised here."""
    with ProcessPoolExecutor(1, CONTEXT) as pool:
        return pool.submit(function, *arguments).result()
