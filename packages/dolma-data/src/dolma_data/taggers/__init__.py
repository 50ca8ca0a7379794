"""Taggers: functions that score documents, one file for each family. They score; what to drop is decided in ``mix``."""

from __future__ import annotations

from . import c4, code, gopher, language, length, personal_data
from .registry import (
    PreparedTagger,
    Tagger,
    TaggerOptions,
    find_tagger,
    load_tagger_modules,
    tagger,
    tagger_names,
)

FAMILIES = (c4, code, gopher, language, length, personal_data)

__all__ = [
    "FAMILIES",
    "PreparedTagger",
    "Tagger",
    "TaggerOptions",
    "find_tagger",
    "load_tagger_modules",
    "tagger",
    "tagger_names",
]
