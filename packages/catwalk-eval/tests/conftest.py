"""Small inputs that several test files share: a tokenizer, models and records, all made on the spot."""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

# before torch is loaded, here and in the processes that tests start: models this small are fastest on one thread, and
# equal bytes need equal numbers of threads
os.environ.setdefault("OMP_NUM_THREADS", "1")

TEXT = """The wind blew over the hills and the river ran down to the sea.
Question: Which way does the wind blow?
Answer: over the hills, yes or no, because the sea is near."""
VOCABULARY = 320


@pytest.fixture(autouse=True)
def information_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer with 320 ids, <|endoftext|> = 0 and no begin token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """Tiny random models: make_model("olmo"), make_model("llama", seed=1), …"""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def make(kind: str, seed: int = 0, vocab_size: int = VOCABULARY) -> Any:
        torch.manual_seed(seed)
        sizes: dict[str, Any] = {
            "vocab_size": vocab_size,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "initializer_range": 0.3,
            "pad_token_id": None,
            "bos_token_id": None,
            "eos_token_id": 0,
        }
        if kind == "gpt2":
            names = {"vocab_size": vocab_size, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
            sizes = names | {"initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 0}
        if kind == "mistral":
            sizes["sliding_window"] = 8
        if kind == "gemma2":
            sizes |= {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8, "final_logit_softcapping": 5.0}
        if kind == "opt":
            sizes = {
                "vocab_size": vocab_size, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "max_position_embeddings": 128, "init_std": 0.3, "word_embed_proj_dim": 16,
            }  # fmt: skip
        if kind == "cohere":
            sizes["logit_scale"] = 0.25
        if kind == "llama4_text":
            sizes |= {"attention_chunk_size": 8, "intermediate_size_mlp": 64, "num_local_experts": 2, "head_dim": 8}
        if kind == "gpt_oss":
            sizes |= {"head_dim": 8, "sliding_window": 8, "num_local_experts": 4, "num_experts_per_tok": 2}
        if kind == "phi3":
            rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0, 3.0, 9.0, 27.0]}
            rope |= {"rope_theta": 10000.0, "original_max_position_embeddings": 32}
            sizes |= {"original_max_position_embeddings": 32, "rope_parameters": rope}
        if kind == "dynamic":  # longer inputs than this have other frequencies
            rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
            sizes |= {"max_position_embeddings": 32, "rope_parameters": rope}
            kind = "llama"
        if kind == "bloom":
            sizes = {"vocab_size": vocab_size, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
        if kind == "mamba":
            sizes = {"vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()

    return make


@pytest.fixture(scope="session")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Any], tokenizer_json: Path
) -> Path:
    """A tiny random OLMo model saved with its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-olmo"
    make_model("olmo").save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    return folder


def write_records(folder: Path, records: list[dict[str, Any]]) -> None:
    (folder / "source").mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "source" / "validation.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Task data of ours for piqa, sciq and winogrande: three records each."""
    folder = tmp_path / "data"
    write_records(
        folder / "piqa",
        [
            {"goal": f"cross the river {k}", "sol1": "swim over", "sol2": "the wind blows " * (k + 1), "label": k % 2}
            for k in range(3)
        ],
    )
    write_records(
        folder / "sciq",
        [
            {
                "question": "What blows?",
                "distractor1": "sea",
                "distractor2": "hills",
                "distractor3": "sea",
                "correct_answer": "wind",
                "support": "" if k == 0 else "The wind blew over the hills. " * k,
            }
            for k in range(3)
        ],
    )
    write_records(
        folder / "winogrande",
        [
            {
                "sentence": "The river met the sea and _ was salty .",
                "option1": "river",
                "option2": "sea",
                "answer": "2",
            },
            {"sentence": "_ blew.", "option1": "Wind", "option2": "Hills", "answer": "1"},
            {"sentence": "He asked her whether _ was near.", "option1": "he", "option2": "she", "answer": "1"},
        ],
    )
    return folder
