"""Small artifacts written by hand, after the contract, for all tests."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from olmo_model.config.model import Initialization, ModelConfig
from olmo_model.config.optimization import GuardSettings, OptimizerSettings
from olmo_model.initialization import initialize
from olmo_model.model import Transformer
from olmo_model.update import Update

settings.register_profile("patient", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("patient")
TALE = "the cat sat on a mat and the dog ran to the red house where it was warm while rain fell all day long"
WORDS = TALE.split()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def story(number: int) -> str:
    """A text that differs for every number."""
    return (
        " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(12 + number % 9)) + "."
    )


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A byte-level tokenizer of 300 ids; id 0 ends a document, id 1 is padding."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([story(number) for number in range(40)], trainer)
    return made


@pytest.fixture(scope="session")
def tokenizer_bytes(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    return file.read_bytes()


@pytest.fixture(scope="session")
def write_tokens(tokenizer_bytes: bytes) -> Callable[..., Path]:
    """Writes a tokens artifact: for each file a list of (id, token ids without EOS)."""

    def write(folder: Path, files: Sequence[Sequence[tuple[str, Sequence[int]]]], vocab_size: int = 300) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        listed, index, print_lines = [], [], b""
        for number, documents in enumerate(files):
            ids: list[int] = []
            rows = io.StringIO()
            writer = csv.writer(rows, lineterminator="\n")
            for row, (name, content) in enumerate(documents):
                start = len(ids)
                ids += [*content, 0]
                writer.writerow([start, len(ids), name, f"documents/part-{number}.jsonl.gz", row + 1])
                hashed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
                index.append((hashed, number, row, start))
            raw = np.array(ids, dtype="<u2").tobytes()
            path = f"part-{number:05d}.npy"
            (folder / path).write_bytes(raw)
            (folder / path).with_suffix(".csv.gz").write_bytes(gzip.compress(rows.getvalue().encode(), mtime=0))
            listed.append({"path": path, "tokens": len(ids), "documents": len(documents)})
            print_lines += f"{path}\0{len(ids)}\0{sha256(raw)}\n".encode()
        np.array(sorted(index), dtype="<u8,<u4,<u4,<u8").tofile(folder / "documents.idx")
        (folder / "tokenizer.json").write_bytes(tokenizer_bytes)
        documents_in_all = sum(row["documents"] for row in listed)
        manifest = {
            "artifact": "tokens",
            "format_version": 1,
            "dtype": "uint16",
            "vocab_size": vocab_size,
            "eos_token_id": 0,
            "pad_token_id": 1,
            "bos_token_id": None,
            "tokenizer_digest": sha256(tokenizer_bytes),
            "files": listed,
            "tokens": sum(row["tokens"] for row in listed),
            "documents": documents_in_all,
            "counts": {"read": documents_in_all, "kept": documents_in_all, "dropped": 0, "failed": 0},
            "fingerprint": sha256(print_lines),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


@pytest.fixture(scope="session")
def tokens_folder(
    tokenizer: Tokenizer, write_tokens: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two files of short stories, about 2,900 tokens."""
    documents = [(f"story-{number}", tokenizer.encode(story(number)).ids) for number in range(120)]
    return write_tokens(tmp_path_factory.mktemp("data") / "tokens", [documents[:70], documents[70:]])


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows), mtime=0))


@pytest.fixture(scope="session")
def windows_folder(tokenizer: Tokenizer, tokenizer_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of at most 16 tokens of six documents in two sources."""
    folder = tmp_path_factory.mktemp("data") / "windows"
    rows = []
    for number in range(200, 206):
        text = story(number)
        ids = tokenizer.encode(text).ids
        for window, start in enumerate(range(0, len(ids), 16)):
            piece = [ids[start - 1] if start else 0, *ids[start : start + 16]]
            rows.append(
                {
                    "document": f"story-{number}",
                    "source": "odd" if number % 2 else "even",
                    "domain": "stories",
                    "window": window,
                    "ids": piece,
                    "scored": list(range(1, len(piece))),
                    "bytes": 0 if start else len(text.encode()),
                }
            )
    write_rows(folder / "windows.jsonl.gz", rows)
    (folder / "tokenizer.json").write_bytes(tokenizer_bytes)
    manifest = {
        "artifact": "windows",
        "format_version": 1,
        "format": "training",
        "split": "val",
        "maximum_length": 16,
        "prefix_token_id": 0,
        "vocab_size": 300,
        "tokenizer_digest": sha256(tokenizer_bytes),
        "suite_digest": sha256(b"suite"),
        "documents": 6,
        "windows": len(rows),
        "tokens": sum(len(row["scored"]) for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def requests_folder(tokenizer: Tokenizer, tokenizer_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five instances of one task with three choices each, and their unconditional twins."""
    folder = tmp_path_factory.mktemp("data") / "requests"
    rows = []
    for kind, context in (("conditional", "the dog ran to"), ("unconditional", "Answer:")):
        for document in range(5):
            for choice, text in enumerate((" the house", f" a mat {document}", " rain")):
                rows.append(
                    {
                        "doc_id": document,
                        "idx": choice,
                        "label": document % 3,
                        "context_ids": tokenizer.encode(context).ids,
                        "continuation_ids": tokenizer.encode(text).ids,
                        "characters": len(text),
                        "bytes": len(text.encode()),
                        "kind": kind,
                    }
                )
    write_rows(folder / "animals" / "tokenized.jsonl.gz", rows)
    (folder / "tokenizer.json").write_bytes(tokenizer_bytes)
    digest = sha256(tokenizer_bytes)
    (folder / "manifest.json").write_text(
        json.dumps(
            {
                "artifact": "requests",
                "format_version": 1,
                "tasks": ["animals"],
                "dialect": "olmo",
                "tokenizer_digest": digest,
            }
        )
    )
    return folder


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Transformer]:
    """A small model with weights of a seed; keyword arguments change its shape."""

    def make(seed: int = 0, **changes: Any) -> Transformer:
        shape: dict[str, Any] = {
            "d_model": 64,
            "n_heads": 4,
            "n_layers": 3,
            "mlp_hidden_size": 256,
            "max_sequence_length": 32,
            "vocab_size": 300,
            "embedding_size": 384,
            "eos_token_id": 0,
            "pad_token_id": 1,
        }
        model = Transformer(ModelConfig(**shape | changes))
        initialize(model, Initialization(), seed)
        return model

    return make


@pytest.fixture(scope="session")
def make_update() -> Callable[..., Update]:
    """What moves a model's weights, at a constant learning rate unless told otherwise."""

    def make(model: Transformer, guard: GuardSettings | None = None, **settings: Any) -> Update:
        functions = {name: settings.pop(name) for name in ("learning_rate", "bound_factor") if name in settings}
        functions.setdefault("learning_rate", lambda step: 4e-4)
        return Update(model, OptimizerSettings(**settings), guard or GuardSettings(), **functions)

    return make


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of a test stays in the user's cache, and nothing there decides about one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The models are too small for more, and the machine may be busy."""
    torch.set_num_threads(1)
