"""Whether two models saw the same data in the same order: Paloma's control 2 (arXiv 2312.10523).

The order of a run is what its ``data_order.jsonl`` says: the tokens (by fingerprint), the seed, the mixture, the batch
size and the sequence length from each step on. A resumed run that goes on where it stopped has the order of one that
never stopped.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_lines

LEDGER = "data_order.jsonl"
PLACE = ("first_step", "first_instance")
SETTINGS = ("epoch", "batch_size", "sequence_length", "seed", "instances", "mixture", "skipped_steps")
KEYS = (*PLACE, *SETTINGS, "tokens_fingerprint", "order")
Row = dict[str, Any]


def read_order(run: Path) -> list[Row]:
    """The rows that hold, by first step; a UserError where the run folder has no ledger or a damaged one."""
    path = run / LEDGER
    if not path.is_file():
        raise UserError("the run has no ledger of its data order", where=path, fix="give a run folder of olmo-model")
    held: list[Row] = []
    for line, data in read_lines(path):
        try:
            found = json.loads(data)
            row = {key: found[key] for key in KEYS}
            steps = (row["first_step"], row["first_instance"], row["batch_size"])
            if not all(type(number) is int for number in steps):
                raise ValueError("no step")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError("not a row of a data order", where=path, line=line, fix="restore the file") from error
        held = [earlier for earlier in held if earlier["first_step"] < row["first_step"]]
        if not (held and goes_on(held[-1], row)):
            held.append(row)
    if not held:
        raise UserError("the ledger is empty", where=path, fix="give a run that has started")
    return held


def goes_on(before: Row, row: Row) -> bool:
    """Whether ``row`` says no more than what follows from ``before``."""
    steps = row["first_step"] - before["first_step"]
    same = all(before[key] == row[key] for key in KEYS if key not in PLACE)
    return same and row["first_instance"] == before["first_instance"] + steps * before["batch_size"]


def fingerprint(order: list[Row]) -> str:
    """``sha256:…`` of the rows that hold: equal for equal orders."""
    return "sha256:" + hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()


def difference(a: list[Row], b: list[Row]) -> str | None:
    """What differs first, and from which step on; None for equal orders."""
    for left, right in zip(a, b, strict=False):
        keys = [key for key in KEYS if left[key] != right[key]]
        if keys:
            step = min(left["first_step"], right["first_step"])
            return f"from step {step} on: " + ", ".join(f"{key} {left[key]} and {right[key]}" for key in keys)
    if len(a) != len(b):
        longer = max(a, b, key=len)
        return f"from step {longer[min(len(a), len(b))]['first_step']} on: one run changed its order, the other did not"
    return None
