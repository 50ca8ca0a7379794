"""What in the settings of a command would not have done in Dolma what was meant: one line for each.

Looked at are the settings as written, before any file is opened; rules of the mixer are looked at in
:mod:`dolma_data.mix.lint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Settings = dict[str, Any]


def lint_settings(command: str, settings: Settings) -> list[str]:
    """Notes about the settings of ``command``."""
    check = CHECKS.get(command)
    return [] if check is None else list(check(settings))


def _section(settings: Settings, name: str) -> Settings:
    value = settings.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


def _lint_dedupe(settings: Settings) -> Iterator[str]:
    rule, bloom = _section(settings, "dedupe"), _section(settings, "bloom_filter")
    if _number(rule.get("min_words")) > 0:
        yield "dedupe.min_words above 0 makes Dolma's deduplication find nothing; here it leaves short units alone"
    documents = _section(rule, "documents")
    key = documents.get("key")
    if isinstance(key, str) and not key.startswith("$"):
        yield f"dedupe.documents.key is {key!r}, which Dolma's JSONPath does not take for a field; write $.{key}"
    if documents and _section(rule, "paragraphs"):
        yield "dedupe has both documents and paragraphs; Dolma passes over paragraphs without a word"
    ngrams = _section(_section(rule, "paragraphs"), "by_ngram")
    separator = _section(rule, "paragraphs").get("paragraph_separator")
    if isinstance(separator, str) and len(separator) != 1:
        yield "Dolma's spans are wrong for a paragraph_separator that is not one character long; here they are right"
    if ngrams and _number(ngrams.get("overlap_threshold", 1.0)) > 1:
        yield "by_ngram.overlap_threshold above 1 is never reached; an overlap is a share"
    if _number(bloom.get("size_in_bytes")) > 0 and not _number(bloom.get("estimated_doc_count")):
        yield (
            "bloom_filter.size_in_bytes without estimated_doc_count leaves Dolma without a number of hashes (it divides"
            " by zero); give both"
        )
    file = bloom.get("file")
    if isinstance(file, str) and Path(file).exists() and not bloom.get("read_only"):
        yield (
            f"the filter {file} exists: what it holds counts as seen before, and its size replaces the one given;"
            " remove it for a fresh start"
        )
    if _number(rule.get("num_partitions") or 1) > 1 and _number(rule.get("partition_index")) >= _number(
        rule["num_partitions"]
    ):
        yield "dedupe.partition_index is not below num_partitions, so that no unit is looked at"


def _lint_tokens(settings: Settings) -> Iterator[str]:
    tokenizer = _section(settings, "tokenizer")
    if "tokenizer_name_or_path" in settings:
        yield "tokenizer_name_or_path is Dolma's old key and takes the last id of the vocabulary as end of text"
    if tokenizer and tokenizer.get("eos_token_id") is None and tokenizer.get("bos_token_id") is None:
        yield "neither eos_token_id nor bos_token_id is given, which Dolma refuses; here the end of text is looked up"


CHECKS: dict[str, Callable[[Settings], Iterator[str]]] = {
    "dedupe": _lint_dedupe,
    "tokens": _lint_tokens,
}
