"""Whether two models saw the same data in the same order: Paloma's control 2 (arXiv 2312.10523).

The order of a run is what its ``data_order.jsonl`` says: the tokens (by fingerprint), the seed, the mixture, the batch
size and the sequence length from each step on. A resumed run that goes on where it stopped has the order of one that
never stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_lines

log = logging.getLogger(__name__)
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


def order_of_checkpoint(folder: Path, step: int | None) -> list[dict[str, Any]] | None:
    """What a results manifest says of the order that a checkpoint saw: ``first_step`` and ``fingerprint`` of the rows
    up to its ``step``. None where no run folder with a ledger lies around it; a damaged ledger is a warning.
    """
    run = folder.resolve().parent
    if step is None or not (run / LEDGER).is_file():
        return None
    try:
        held = read_order(run)
    except UserError as error:
        log.warning("the training order is not recorded: %s", error)
        return None
    rows = [row for row in held if row["first_step"] <= step]
    return [{"first_step": row["first_step"], "fingerprint": fingerprint([row])} for row in rows] or None


def same_so_far(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool | None:
    """Whether two models, as results manifests describe them, saw the same data in the same order up to the earlier of
    their steps; None where one does not say.
    """
    if not all("training_order" in model for model in (a, b)):
        return None
    common = min(a["step"], b["step"])
    first, second = ([row for row in model["training_order"] if row["first_step"] <= common] for model in (a, b))
    return first == second


def order_line(a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, str]) -> str:
    """What ``same_so_far`` found, for people."""
    found = same_so_far(a, b)
    if found is None:
        silent = [name for name, model in zip(names, (a, b), strict=True) if "training_order" not in model]
        return f"training order: unknown, not recorded for {' and '.join(dict.fromkeys(silent))}"
    if not found:
        return "training order: other data or another order"
    return f"training order: the same data in the same order up to step {min(a['step'], b['step'])}"


def well_formed(model: Mapping[str, Any]) -> bool:
    """Whether a manifest's description of a model has a whole training order, or none."""
    rows = model.get("training_order", [])
    return (
        isinstance(rows, list)
        and all(isinstance(row, dict) and type(row.get("first_step")) is int for row in rows)
        and (type(model.get("step")) is int or "training_order" not in model)
    )
