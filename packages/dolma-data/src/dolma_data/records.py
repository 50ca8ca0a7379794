"""Records of provenance that name remote files by their URLs, not by the copies that a command worked on."""

from __future__ import annotations

from functools import partial

from .provenance import recorded as _recorded
from .remote import shown

recorded = partial(_recorded, spell=shown)
