"""Kinds of settings that several commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Several = Parameter(consume_multiple=True, negative="")
Count = Annotated[int, Parameter(validator=Number(gte=0))]
