"""Whether results may stand beside each other, and how each was made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import UserError
from .results import Description

log = logging.getLogger(__name__)
SETTINGS = ("format", "maximum_length", "dtype")


def made_as(description: Description) -> dict[str, Any]:
    """The settings that a number depends on, as comparisons and curves store them."""
    return {name: getattr(description, name) for name in SETTINGS}


def check_alike(paths: Sequence[Path], found: Sequence[Description]) -> None:
    """Results of one suite, split and limit, and models in one format; others are a UserError.

    Windows of another length and another dtype are a warning: they change numbers a little, as a model may need them.
    Baselines read neither windows nor weights.
    """
    results = list(zip(paths, found, strict=True))
    models = [(path, each) for path, each in results if each.method == "model"]
    for members, names, fix in (
        (results, ("suite_digest", "split", "limit"), "give results of the same suite, split and limit"),
        (models, ("format",), "run one of them again with the --format of the other"),
    ):
        for name in names:
            for path, each in members[1:]:
                pair = getattr(members[0][1], name), getattr(each, name)
                if pair[0] != pair[1]:
                    where = f"{members[0][0]}, {path}"
                    raise UserError(f"{name} differs: {pair[0]} and {pair[1]}", where=where, fix=fix)
    for name in ("maximum_length", "dtype"):
        values = list(dict.fromkeys(str(getattr(each, name)) for _, each in models))
        if len(values) > 1:
            log.warning("%s differs between the models: %s; a part of any difference is due to it", name,
                        ", ".join(values))  # fmt: skip
