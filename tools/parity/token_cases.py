"""Tokens by dolma and by dolma-data with the same configurations, compared document by document."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .attribution import Account, attribute
from .commands import ROOT, Command, must_run, write_rows
from .corpus import Document
from .dedupe_cases import with_copies

STRIP = "tokens-strip"
SPECIAL = "tokens-special"
FILES = ("a.jsonl.gz", "b.jsonl.gz")
SPELLED = ("It ends with <|endoftext|>", "<|endoftext|>", "<|padding|> at\nthe start", "a<|endoftext|><|endoftext|>b\n")
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "uint16": ("allenai_gpt-neox-olmo-dolma-v1_5.json", "<|endoftext|>", {}),
    "uint32": ("allenai_dolma2.json", "<|endoftext|>", {}),
    "special tokens are text": (
        "allenai_gpt-neox-olmo-dolma-v1_5.json", "<|endoftext|>", {"encode_special_tokens": True}
    ),
    "begin and end": ("allenai_dolma2.json", "<|endoftext|>", {"bos_token_id": 100257}),
}  # fmt: skip
Tokens = tuple[int, list[int]]  # line of the document, ids


def compare(
    documents: Sequence[Document], runners: Mapping[str, Command], report: Callable[[str, Account], None]
) -> None:
    """Run every case with the three commands; each account goes to ``report``."""
    folder = Path(os.environ["DATA_DIR"]) / "tokenizers"
    spelled = [{"id": f"spelled-{k}", "source": "spelled", "text": text} for k, text in enumerate(SPELLED)]
    documents = [{**each, "id": f"{k}"} for k, each in enumerate([*with_copies(documents), *spelled])]
    half = -(-len(documents) // 2)
    for command in runners.values():
        for number, name in enumerate(FILES):
            write_rows(command.root / "documents" / name, documents[number * half : (number + 1) * half])
    for name, (file, end, more) in CASES.items():
        tokenizer = Tokenizer.from_file(str(folder / file))
        settings = {"name_or_path": str(folder / file), "eos_token_id": tokenizer.token_to_id(end), **more}
        dtype = "uint16" if tokenizer.get_vocab_size() <= 1 << 16 else "uint32"
        rows = {who: _run(command, settings, dtype, documents) for who, command in runners.items()}
        conditions: dict[str, Callable[[int], bool]] = {
            STRIP: lambda k: documents[k]["text"] != documents[k]["text"].strip()
        }
        if not settings.get("encode_special_tokens"):
            conditions[SPECIAL] = lambda k, tokenizer=tokenizer: any(
                token.content in documents[k]["text"] for token in tokenizer.get_added_tokens_decoder().values()
            )
        account = attribute(
            [each["id"] for each in documents],
            rows["dolma"],
            rows["default"],
            rows["compat"],
            lambda ways, tokenizer=tokenizer, settings=settings: [
                encode(tokenizer, settings, document, k % half + 1, ways) for k, document in enumerate(documents)
            ],
            conditions,
        )
        report(f"tokens: {name}", account)


def encode(
    tokenizer: Tokenizer, settings: dict[str, Any], document: Document, line: int, ways: frozenset[str]
) -> Tokens | None:
    """The ids of a document by the library tokenizers, with dolma's ``ways``; None for a blank text."""
    text = document["text"].strip() if STRIP in ways else document["text"]
    if not text.strip():
        return None
    tokenizer.encode_special_tokens = SPECIAL not in ways
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    begin, end = settings.get("bos_token_id"), settings["eos_token_id"]
    if begin is not None and ids[:1] != [begin]:
        ids = [begin, *ids]
    return line, ids if ids[-1:] == [end] else [*ids, end]


def _run(command: Command, settings: dict[str, Any], dtype: str, documents: Sequence[Document]) -> list[Tokens | None]:
    """Line and ids of every document; None where there are none."""
    folder = command.root / "tokens"
    shutil.rmtree(folder, ignore_errors=True)
    must_run(
        command,
        "tokens",
        {
            "documents": [f"{ROOT}/documents/*.gz"],
            "destination": f"{ROOT}/tokens",
            "tokenizer": settings,
            "dtype": dtype,
            "processes": 1,
        },
    )
    found: dict[str, Tokens] = {}
    for path in sorted(folder.glob("*.npy")):
        ids = np.fromfile(path, dtype=dtype)
        at = 0
        with gzip.open(path.with_suffix(".csv.gz"), "rt", encoding="utf-8", newline="") as stream:
            for start, end, name, _, line in csv.reader(stream):
                if int(start) != at or name in found:
                    raise SystemExit(f"{path}: document {name} begins at {start}, where {at} is due, or comes twice")
                at = int(end)
                found[name] = int(line), ids[int(start) : at].tolist()
        if at != len(ids):
            raise SystemExit(f"{path}: {len(ids)} tokens, of which the documents have {at}")
    return [found.get(each["id"]) for each in documents]
