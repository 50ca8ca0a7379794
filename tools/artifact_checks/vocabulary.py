"""Tokenizers: the file, the folder that transformers loads, and encoding by the contracts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from artifact_checks.reading import check_digest, load
from artifact_checks.report import Options, Report


@functools.lru_cache(maxsize=4)
def _loaded(path: str, size: int, changed: int) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # text that spells a special token stays text
    return tokenizer


def tokenizer_at(path: Path, report: Report) -> Any:
    """The tokenizer of a file, or None and a problem."""
    try:
        status = path.stat()
        return _loaded(str(path), status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        report.problem(path, "missing")
    except Exception as error:  # the library raises bare Exception
        report.problem(path, f"no tokenizer: {error}")
    return None


def check_tokenizer(path: Path, digest: str, vocab_size: int | None, where: Path, report: Report) -> Any:
    """The tokenizer, its digest and its size as a manifest (`where`) states them."""
    check_digest(path, digest, "tokenizer_digest", where, report)
    if not path.is_file():
        return None
    tokenizer = tokenizer_at(path, report)
    if tokenizer is not None and vocab_size is not None:
        report.equal(where, "vocab_size", vocab_size, max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1)
    return tokenizer


def check_tokenizer_folder(folder: Path, report: Report, options: Options) -> str:
    """Check what `train-tokenizer` writes; transformers has to load it to the same ids."""
    path = folder / "manifest.json"
    manifest = load(path, "tokenizer", report)
    if manifest is None:
        return "unreadable"
    tokenizer = check_tokenizer(folder / "tokenizer.json", manifest["digest"], manifest["vocab_size"], path, report)
    if tokenizer is None:
        return "unreadable"
    for kind in ("eos", "pad"):
        report.equal(
            path, f"{kind}_token_id", manifest[f"{kind}_token_id"], tokenizer.token_to_id(manifest[f"{kind}_token"])
        )
    if not (folder / "tokenizer_config.json").is_file():
        report.problem(folder / "tokenizer_config.json", "missing")
        return "unreadable"
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        report.problem(folder / "tokenizer_config.json", f"transformers does not load it: {error}")
        return "unreadable"
    for kind in ("eos", "pad"):
        report.equal(
            folder / "tokenizer_config.json",
            f"{kind} token of transformers",
            (getattr(loaded, f"{kind}_token"), getattr(loaded, f"{kind}_token_id")),
            (manifest[f"{kind}_token"], manifest[f"{kind}_token_id"]),
        )
    text = "Two lines,\n\tone tab – and 12 345 «ćudne» 字."
    ids = loaded(text, add_special_tokens=False)["input_ids"]
    report.equal(folder / "tokenizer_config.json", "encoding by transformers", ids, tokenizer.encode(text).ids)
    return f"{manifest['vocab_size']:,} ids"
