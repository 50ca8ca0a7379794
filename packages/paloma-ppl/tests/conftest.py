"""Small inputs that several tests share: documents, a suite, a byte-level tokenizer, a random OLMo model."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.config import PrepareConfig
from paloma_ppl.prepare import prepare

# before torch is loaded, here and in the processes that tests start: models this small are fastest on one thread, and
# equal bytes need equal numbers of threads
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORDS = [
    "the",
    "sea",
    "holds",
    "a",
    "ship",
    "and",
    "seven",
    "sailors",
    "who",
    "sing",
    "of",
    "rain",
    "wind",
    "salt",
    "stone",
    "bread",
    "night",
    "morning",
]


def sentence(generator: random.Random, words: int) -> str:
    return " ".join(generator.choice(WORDS) for _ in range(words))


def make_document_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Documents of two sources; module *k* has one document in each, packages are a, b, c and topics."""
    generator = random.Random(seed)
    rows = []
    for source in ("docs", "code"):
        for number in range(count):
            text = "\n".join(sentence(generator, generator.randint(3, 30)) for _ in range(generator.randint(1, 4)))
            metadata = {"module": f"m{number}", "package": "abc"[number % 3]}
            rows.append({"id": f"{source}-{number}", "text": text, "source": source, "metadata": metadata})
    return rows


def write_gzip_rows(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode(), mtime=0))
    return path


def read_gzip_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    write_gzip_rows(folder / "documents" / "part.jsonl.gz", make_document_rows(60))
    return folder


@pytest.fixture(scope="session")
def suite_folder(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite") / "S"
    prepare(
        PrepareConfig(
            documents=documents,
            output=folder,
            name="small",
            domain_field="metadata.package",
            group_field="metadata.module",
            fraction=0.2,
        )
    )
    return folder


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([row["text"] for row in make_document_rows(60)], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Callable[..., Path]:
    def make(seed: int = 0, vocab_size: int = 320, spread: float = 0.4) -> Path:
        import torch
        from transformers import OlmoConfig, OlmoForCausalLM

        torch.manual_seed(seed)
        config = OlmoConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=24,
            initializer_range=spread,
            pad_token_id=1,
            eos_token_id=0,
            bos_token_id=None,
        )
        folder = tmp_path_factory.mktemp("model") / f"model-{seed}"
        OlmoForCausalLM(config).save_pretrained(folder)
        (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
        return folder

    return make


@pytest.fixture(scope="session")
def model_folder(make_model: Callable[..., Path]) -> Path:
    return make_model()


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict[str, Any]]]:
    return make_document_rows


@pytest.fixture(scope="session")
def write_rows() -> Callable[[Path, list[Any]], Path]:
    return write_gzip_rows


@pytest.fixture(scope="session")
def read_rows() -> Callable[[Path], list[dict[str, Any]]]:
    return read_gzip_rows
