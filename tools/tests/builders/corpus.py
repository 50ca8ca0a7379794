"""Small valid artifacts of data curation, built by hand after docs/artifacts.md.

A second implementation of the contract, apart from the packages: a mistake must be made twice to pass unseen.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
from pathlib import Path
from typing import Any

from builders.files import EOS, PAD, Json, digest, read, read_json, read_rows, write, write_json, write_rows

FILES: dict[str, list[Json]] = {
    "documents/a.jsonl.gz": [
        {"id": "a1", "text": "Häuser am Fluß.\nA second line.", "source": "web", "metadata": {"file": "a.txt"}},
        {"id": "a2", "text": "Plain words, twice.\nPlain words, twice.", "source": "web", "version": None},
        {
            "id": "a3",
            "text": "A <|endoftext|> in the text 🙂",
            "source": "books",
            "added": "2024-01-01T00:00:00Z",
        },
    ],
    "documents/deep/b.jsonl.zst": [
        {"id": "a1", "text": "Same id, other source.", "source": "books", "extra": [1]},
        {"id": "b2", "text": "x", "source": "books"},
    ],
}


def documents(root: Path, name: str = "documents_artifact", files: dict[str, list[Json]] = FILES) -> Path:
    """Two files, two sources; one record failed and one blank text was dropped."""
    folder = root / name
    listed = []
    sources: dict[str, dict[str, int]] = {}
    for path, rows in files.items():
        write_rows(folder / path, rows)
        sizes = [len(row["text"].encode()) for row in rows]
        listed.append({"path": path, "documents": len(rows), "text_bytes": sum(sizes)})
        for row, size in zip(rows, sizes, strict=True):
            total = sources.setdefault(row["source"], {"documents": 0, "text_bytes": 0})
            total["documents"] += 1
            total["text_bytes"] += size
    write_rows(folder / "quarantine.jsonl", [{"file": "a.txt", "line": 7, "reason": "not JSON"}])
    kept = sum(map(len, files.values()))
    counts = {"read": kept + 2, "kept": kept, "dropped": 1, "failed": 1}
    manifest = {"artifact": "documents", "format_version": 1, "files": listed, "sources": sources, "counts": counts}
    write_json(folder / "manifest.json", manifest)
    return folder


def mixed(root: Path, files: dict[str, list[Json]] = FILES) -> Path:
    """The documents above as a mix, with its funnel."""
    folder = documents(root, "mixed", files)
    sources = read_json(folder / "manifest.json")["sources"]
    size = {source: of["text_bytes"] for source, of in sources.items()}
    kept = {source: of["documents"] for source, of in sources.items()}
    funnel = {
        "format_version": 1,
        "read": {**kept, "web": kept["web"] + 1},
        "kept": kept,
        "rules": [
            {"rule": "exclude $.a", "stream": "all", "dropped": {"web": 1}, "matched": {"web": 1}},
            {"rule": "blank", "stream": "all", "dropped": {}, "matched": {"web": 1}},
        ],
        "replaced_spans": {},
        "text_bytes": {"read": {**size, "web": size["web"] + 9}, "kept": size},
    }
    write_json(folder / "funnel.json", funnel)
    return folder


def plain(root: Path) -> Path:
    """Dolma's plain layout with attributes, no manifest anywhere."""
    folder = root / "plain"
    text = "one line\ntwo"
    write_rows(
        folder / "documents/x.jsonl.gz",
        [{"id": "p1", "text": text, "source": "s"}, {"id": "p2", "text": "y", "source": "s"}],
    )
    row = {"id": "p1", "attributes": {"t__t__length": [[0, len(text), 12.0]]}, "source": "s"}
    write_rows(folder / "attributes/t/x.jsonl.gz", [row, {"id": "p2", "attributes": {}, "source": "s"}])
    return folder


def attributes(root: Path) -> Path:
    """Tagger attributes of the documents above; a line that cannot be read has its tombstone."""
    root = documents(root)
    broken = read(root / "documents/a.jsonl.gz") + b'{"id": "cut'
    write(root / "documents/a.jsonl.gz", broken + b"\n")
    folder = root / "attributes" / "quality"
    key = "quality__length__characters"
    listed = []
    for path in ("a.jsonl.gz", "deep/b.jsonl.zst"):
        rows: list[Json] = []
        for line in read(root / "documents" / path).splitlines():
            if line.endswith(b"cut"):
                rows.append({"id": None, "attributes": {}, "source": None, "quarantined": "not JSON"})
                continue
            document = json.loads(line)
            spans = [[0, len(document["text"]), 0.5]]
            rows.append({"id": document["id"], "attributes": {key: spans}, "source": document["source"]})
        write_rows(folder / path, rows)
        listed.append({"path": path, "rows": len(rows), "quarantined": sum("quarantined" in row for row in rows)})
    taggers = [{"name": "length", "keys": [key], "source": "counts characters", "digest": None}]
    counts = {"read": 6, "kept": 5, "dropped": 0, "failed": 1}
    write_json(
        folder / "manifest.json",
        {
            "artifact": "attributes",
            "format_version": 1,
            "name": "quality",
            "files": listed,
            "taggers": taggers,
            "counts": counts,
        },
    )
    return folder


def duplicates(root: Path) -> Path:
    """Paragraph deduplication: the second line of a2 repeats its first, b2 is a whole copy of nothing."""
    root = documents(root)
    folder = root / "attributes" / "repeats"
    listed = []
    for path in ("a.jsonl.gz", "deep/b.jsonl.zst"):
        rows = []
        for document in read_rows(root / "documents" / path):
            spans = [[20, 39, 1]] if document["id"] == "a2" else []
            rows.append({"id": document["id"], "attributes": {"repeats": spans}, "source": document["source"]})
        write_rows(folder / path, rows)
        listed.append({"path": path, "rows": len(rows), "quarantined": 0})
    match = {"id": "a2", "source": "web", "file": "a.jsonl.gz", "line": 2, "start": 20, "end": 39}
    first = {"first_id": "a2", "first_source": "web", "first_file": "a.jsonl.gz", "first_line": 2}
    write_rows(folder / "matches.jsonl.gz", [match | first])
    taggers = [{"name": "repeats", "keys": ["repeats"], "source": "paragraphs", "digest": None}]
    counts = {"read": 5, "kept": 5, "dropped": 0, "failed": 0}
    write_json(
        folder / "manifest.json",
        {
            "artifact": "attributes",
            "format_version": 1,
            "name": "repeats",
            "files": listed,
            "taggers": taggers,
            "counts": counts,
        },
    )
    return folder


def classifier(root: Path) -> Path:
    """A classifier of two labels, its model three bytes long, with two held-out examples."""
    folder = root / "classifier"
    write(folder / "model.bin", b"abc")
    write(folder / "report.txt", b"accuracy\n")
    labels = {"calm": {"examples": 1, "hits": 1}, "loud": {"examples": 1, "hits": 0}}
    confusion = {"calm": {"calm": 1}, "loud": {"calm": 1}}
    write_json(folder / "report.json", {"examples": 2, "labels": labels, "confusion": confusion})
    manifest = {
        "artifact": "classifier",
        "format_version": 1,
        "name": "tone",
        "labels": ["calm", "loud"],
        "digest": digest(folder / "model.bin"),
        "lower": True,
        "settings": {"dimension": 16},
        "seed": 0,
        "examples": {"training": 8, "held_out": 2},
    }
    write_json(folder / "manifest.json", manifest)
    return folder


def summaries(root: Path) -> Path:
    folder = root / "report"
    row = {
        "name": "quality__length__characters/score",
        "counts": [2, 0, 1],
        "bins": [0.0, 1.0, 2.0, 3.0],
        "total": 3,
        "sum": 3.5,
    }
    return write_rows(folder / "summaries.jsonl.gz", [row])


UNITS = [
    {
        "kind": "paragraph",
        "id": "d1",
        "source": "wiki",
        "domain": "a",
        "text": "one two three four five six seven eight nine ten eleven twelve thirteen",
    },
    {"kind": "document", "id": "d1", "source": "wiki", "domain": "a", "text": None},
]


def decontamination_set(
    root: Path,
    name: str = "set",
    units: list[Json] = UNITS,
    exempt: tuple[str, ...] = ("code",),
    suite_digest: str = "sha256:" + "0" * 64,
) -> Path:
    folder = root / name
    write_rows(folder / "paragraphs.jsonl.gz", units)
    rule = {"unit": "line", "minimum_words": 13, "words": "unicode", "exempt_sources": list(exempt)}
    counts = {f"{kind}s": sum(unit["kind"] == kind for unit in units) for kind in ("paragraph", "document")}
    manifest = {"artifact": "decontamination_set", "format_version": 1, "rule": rule, "counts": counts}
    write_json(folder / "manifest.json", {**manifest, "suite_digest": suite_digest})
    return folder


def tokenizer_file(folder: Path) -> Any:
    """A byte-level tokenizer with two special tokens and one merge, written to `folder`; returns it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<|endoftext|>", "<|padding|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
    model = models.BPE(vocab={piece: k for k, piece in enumerate(pieces)}, merges=[("t", "h")])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in pieces[:2]])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizer(root: Path) -> Path:
    from transformers import PreTrainedTokenizerFast

    folder = root / "tokenizer"
    tokenizer = tokenizer_file(folder)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|endoftext|>", pad_token="<|padding|>"
    )
    wrapped.save_pretrained(str(folder))
    names = {"eos_token": "<|endoftext|>", "eos_token_id": EOS, "pad_token": "<|padding|>", "pad_token_id": PAD}
    manifest = {"artifact": "tokenizer", "format_version": 1, "vocab_size": tokenizer.get_vocab_size(), **names}
    manifest |= {"digest": digest(folder / "tokenizer.json"), "documents": 5, "text_bytes": 100}
    write_json(folder / "manifest.json", manifest)
    return folder


def tokens(root: Path) -> Path:
    """The documents above in two files of tokens, not in the order of the documents."""
    corpus = documents(root)
    folder = root / "tokens"
    tokenizer = tokenizer_file(folder)
    rows = [
        (document, path.relative_to(corpus).as_posix(), number)
        for path in (corpus / "documents/a.jsonl.gz", corpus / "documents/deep/b.jsonl.zst")
        for number, document in enumerate(read_rows(path), 1)
    ]
    parts = [rows[1:], rows[:1]]
    files = []
    index = []
    largest = 0
    fingerprint = hashlib.sha256()
    for number, part in enumerate(parts):
        ids: list[int] = []
        table = io.StringIO()
        writer = csv.writer(table)
        for row, (document, path, line) in enumerate(part):
            start = len(ids)
            ids += [*tokenizer.encode(document["text"]).ids, EOS]
            writer.writerow([start, len(ids), document["id"], path, line])
            hashed = int.from_bytes(hashlib.sha256(document["id"].encode()).digest()[:8], "little")
            index.append((hashed, number, row, start))
        largest = max([largest, *ids])
        name = f"part-{number}-00000"
        write(folder / f"{name}.npy", struct.pack(f"<{len(ids)}H", *ids))
        write(folder / f"{name}.csv.gz", table.getvalue().encode())
        files.append({"path": f"{name}.npy", "tokens": len(ids), "documents": len(part)})
        fingerprint.update(f"{name}.npy\0{len(ids)}\0{digest(folder / f'{name}.npy')}\n".encode())
    write(folder / "documents.idx", b"".join(struct.pack("<QIIQ", *record) for record in sorted(index)))
    manifest = {
        "artifact": "tokens",
        "format_version": 1,
        "dtype": "uint16",
        "vocab_size": tokenizer.get_vocab_size(),
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "max_token_id": largest,
        "tokenizer_digest": digest(folder / "tokenizer.json"),
        "files": files,
        "tokens": sum(file["tokens"] for file in files),
        "documents": 5,
        "counts": {"read": 5, "kept": 5, "dropped": 0, "failed": 0},
        "fingerprint": "sha256:" + fingerprint.hexdigest(),
    }
    write_json(folder / "manifest.json", manifest)
    return folder
