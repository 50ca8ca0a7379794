"""Rules that say which documents a mixture keeps, in two languages, compiled once: Dolma's JSONPath and jq."""

from __future__ import annotations

from .jq import compile_jq
from .jsonpath import compile_path

__all__ = ["compile_jq", "compile_path"]
