"""Taggers: functions that score documents, one file for each family. They score; what to drop is decided in ``mix``."""

from __future__ import annotations

from . import (
    c4,
    c4_lines,
    code,
    code_comments,
    content,
    fineweb,
    gopher,
    language,
    language_libraries,
    length,
    licenses,
    personal_data,
    presidio,
    punctuation,
    random_numbers,
    repetitions,
    token_counts,
    urls,
)
from .listing import describe_taggers
from .registry import (
    Need,
    PreparedTagger,
    Tagger,
    TaggerOptions,
    all_differences,
    check_resources,
    find_tagger,
    is_file_name,
    load_tagger_modules,
    refused_names,
    tagger,
    tagger_names,
)

FAMILIES = (
    c4,
    c4_lines,
    code,
    code_comments,
    content,
    fineweb,
    gopher,
    language,
    language_libraries,
    length,
    licenses,
    personal_data,
    presidio,
    punctuation,
    random_numbers,
    repetitions,
    token_counts,
    urls,
)

__all__ = [
    "FAMILIES",
    "Need",
    "PreparedTagger",
    "Tagger",
    "TaggerOptions",
    "all_differences",
    "check_resources",
    "describe_taggers",
    "find_tagger",
    "is_file_name",
    "load_tagger_modules",
    "refused_names",
    "tagger",
    "tagger_names",
]
