"""Settings of ``dedupe`` checked before any work: combinations that make no sense, names, what would have no effect."""

from __future__ import annotations

import logging

from ..attributes import check_folder_name
from ..config.dedupe import CompressionConfig, DedupeConfig, DedupeRule, MinHashRule, SubstringRule
from ..errors import UserError
from .units import parse_key

COMPRESSIONS = {"": (".jsonl", ".json"), "gz": (".gz",), "zst": (".zst", ".zstd"), "zstd": (".zst", ".zstd")}
log = logging.getLogger(__name__)


def choose_method(config: DedupeConfig) -> str:
    """The method of the settings: ``bloom`` where a filter is given, else ``exact``, unless one is named."""
    return config.dedupe.method or ("exact" if config.bloom_filter is None else "bloom")


def attribute_key(rule: DedupeRule) -> str:
    """Key of the attributes."""
    chosen = rule.documents or rule.paragraphs
    assert chosen is not None
    return _with_partition(rule, chosen.attribute_name)


def _with_partition(rule: DedupeRule, name: str) -> str:
    return f"{name}_{rule.partition_index}" if rule.num_partitions > 1 else name


def check_settings(config: DedupeConfig) -> str:
    """Check the settings and return the name of the folder; raises UserError before any work."""
    rule = config.dedupe
    _check_units(rule)
    _check_method(config)
    _check_compression(config.compression)
    return check_folder_name(_with_partition(rule, rule.name) if rule.name else attribute_key(rule))


def _check_units(rule: DedupeRule) -> None:
    if (rule.documents is None) == (rule.paragraphs is None):
        raise UserError(
            "dedupe needs one of documents and paragraphs",
            fix="give --dedupe.documents.attribute_name NAME or --dedupe.paragraphs.attribute_name NAME",
        )
    if rule.documents is not None:
        parse_key(rule.documents.key)
    if rule.paragraphs is not None:
        if not rule.paragraphs.paragraph_separator:
            raise UserError("dedupe.paragraphs.paragraph_separator is empty", fix="leave it out for newlines")
        by_ngram = rule.paragraphs.by_ngram
        if by_ngram is not None and min(by_ngram.ngram_length, by_ngram.stride) < 0:
            raise UserError("dedupe.paragraphs.by_ngram has a length or stride below 0", fix="give 0 or more")
        if by_ngram is not None and by_ngram.overlap_threshold > 1:
            raise UserError(
                f"dedupe.paragraphs.by_ngram.overlap_threshold is {by_ngram.overlap_threshold}, "
                "which no share can reach",
                fix="give a share from 0 to 1",
            )
    for name in ("min_length", "min_words"):
        if getattr(rule, name) < 0:
            raise UserError(f"dedupe.{name} is {getattr(rule, name)}", fix="give 0 or more")
    if rule.num_partitions < 1 or not 0 <= rule.partition_index < rule.num_partitions:
        raise UserError(
            f"partition {rule.partition_index} of {rule.num_partitions} partitions",
            where="dedupe.partition_index",
            fix="count from 0 up to num_partitions - 1",
        )
    if not attribute_key(rule):
        raise UserError("the attribute name is empty", fix="give a name")


def _check_method(config: DedupeConfig) -> None:
    rule = config.dedupe
    method = choose_method(config)
    if method == "bloom" and config.bloom_filter is None:
        raise UserError("the method bloom needs a filter", where="bloom_filter", fix="give bloom_filter.file")
    if method != "bloom" and config.bloom_filter is not None:
        raise UserError(f"the method {method} uses no filter", where="bloom_filter", fix="leave it out")
    if rule.verify and method != "bloom":
        raise UserError(f"dedupe.verify is about the method bloom, not {method}", fix="leave it out")
    for name, mine, default in (
        ("minhash", rule.minhash, MinHashRule()),
        ("substring", rule.substring, SubstringRule()),
    ):
        if method != name and mine != default:
            raise UserError(
                f"dedupe.{name} has settings, but the method is {method}", fix=f"give --dedupe.method {name}"
            )
    if method in ("exact", "bloom"):
        if config.compat == "dolma" and rule.min_words > 0:
            log.warning("dedupe.min_words: allenai/dolma compares nothing where it is above 0, and so does this run")
        return
    if rule.documents is None:
        raise UserError(
            f"the method {method} is about documents", fix="give --dedupe.documents.attribute_name, not paragraphs"
        )
    if rule.num_partitions > 1 and not rule.file_partition:
        raise UserError(f"the method {method} has no partitions of units", fix="leave dedupe.num_partitions out")
    if config.compat is not None:
        raise UserError(f"allenai/dolma has no method {method}", where="compat", fix="leave it out")
    from . import minhash, substring  # here, so that the other methods do not load their compiled code

    if method == "minhash":
        minhash.check_settings(rule.minhash)
    else:
        substring.check_settings(rule)


def _check_compression(config: CompressionConfig) -> None:
    for name in ("input", "output"):
        kind = getattr(config, name)
        if kind is not None and kind not in COMPRESSIONS:
            raise UserError(f"compression.{name} is {kind!r}", fix='give gz, zst or "", or leave it out')


def check_names(config: CompressionConfig, names: list[str]) -> None:
    """UserError for a compression that contradicts the name of a file: every reader goes by the name."""
    for setting in ("input", "output"):
        kind = getattr(config, setting)
        for name in names:
            if kind is not None and not name.endswith(COMPRESSIONS[kind]):
                raise UserError(
                    f"compression.{setting} is {kind!r}, but readers go by the name, "
                    "and attributes are named as their documents",
                    where=name,
                    fix="leave it out, or rename the documents",
                )
