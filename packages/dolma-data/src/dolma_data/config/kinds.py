"""Kinds of settings that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Several = Parameter(consume_multiple=True, negative="")
Count = Annotated[int, Parameter(validator=Number(gte=0))]


class Place(Enum):
    """What a command does with the files that a setting names; says how a URL in it is handled (:mod:`remote`).

    It stands in the ``Annotated`` type of every setting that names files and of no other, so that an address in another
    setting (an id, a label, a replacement) is text.
    """

    READ = "read"
    DOCUMENTS = "documents"
    """Read; of a folder with documents/ in it those alone."""
    WRITTEN = "written"
    KEPT = "kept"
    """Read where it is there, and written."""


@dataclass(frozen=True)
class Local:
    """A place that cannot be remote, and why."""

    reason: str
    fix: str


Scratch = Local("intermediate files are mapped into memory and read in any order", "give a local folder")
Models = Local("taggers load models from there", "give a local folder; --from takes a URL")
