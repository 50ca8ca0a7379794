"""The engine against a reference of a few lines of NumPy: one token at a time, no batch, no block, float64."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from paloma_ppl.config import RunConfig
from paloma_ppl.errors import UserError
from paloma_ppl.evaluate import evaluate
from paloma_ppl.tokenizer import load_tokenizer

Array = NDArray[np.float64]
LENGTH = 24  # of the model's window


class Reference:
    """An OLMo (non-parametric norms, rotary positions, SwiGLU) that reads one prefix and gives one distribution."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = {
            name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()
        }

    def __call__(self, prefix: list[int]) -> Array:
        heads, size = self.config["num_attention_heads"], len(prefix)
        width = self.config["hidden_size"] // heads
        frequency = (1 / 10000 ** (np.arange(0, width, 2) / width)).astype(np.float32).astype(np.float64)
        angle = np.arange(size)[:, None] * np.concatenate([frequency, frequency])
        x = self.weights["model.embed_tokens.weight"][prefix]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            q, k, v = (
                (norm(x) @ self.weights[f"{name}.self_attn.{part}_proj.weight"].T).reshape(size, heads, width)
                for part in "qkv"
            )
            q, k = (rotated(part, angle) for part in (q, k))
            mixed = np.empty_like(v)
            for head in range(heads):
                scores = q[:, head] @ k[:, head].T / np.sqrt(width)
                scores[np.triu_indices(size, 1)] = -np.inf
                weight = np.exp(scores - scores.max(-1, keepdims=True))
                mixed[:, head] = weight / weight.sum(-1, keepdims=True) @ v[:, head]
            x = x + mixed.reshape(size, -1) @ self.weights[f"{name}.self_attn.o_proj.weight"].T
            gate = norm(x) @ self.weights[f"{name}.mlp.gate_proj.weight"].T
            up = norm(x) @ self.weights[f"{name}.mlp.up_proj.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.weights[f"{name}.mlp.down_proj.weight"].T
        logits = norm(x[-1]) @ self.weights["lm_head.weight"].T
        result: Array = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        return result

    def document(self, ids: list[int], prefix: int) -> list[float]:
        """Log-probability of each token of a document that stands alone, cut into disjoint windows."""
        values = []
        for place, token in enumerate(ids):
            begin = place // LENGTH * LENGTH
            before = [prefix if begin == 0 else ids[begin - 1], *ids[begin:place]]
            values.append(float(self(before)[token]))
        return values


def norm(x: Array) -> Array:
    result: Array = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return result


def rotated(x: Array, angle: Array) -> Array:
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
    result: Array = x * np.cos(angle)[:, None] + turned * np.sin(angle)[:, None]
    return result


def texts() -> dict[str, str]:
    return {
        "one token": "q",
        "one window": "q" * LENGTH,
        "a window and a token": "q#" * (LENGTH // 2) + "q",
        "three windows": "q#" * (3 * LENGTH // 2),
        "many bytes": "naïve 東京 🦜🏽 \u0301\u200b ÿ \ufeff" * 3,
        "special tokens": "a<|endoftext|>b <|endoftext|><|endoftext|>",
        "control characters": "\x00\x07\r\n\t\x85\u2028 \x1b[0m",
        "white space": " ",
    }


@pytest.fixture(scope="module")
def odd(make_model: Callable[..., Path]) -> Path:
    return make_model(seed=3, spread=0.15)  # logits of ordinary spread


@pytest.fixture(scope="module")
def odd_suite(odd: Path, write_rows: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd") / "S"
    rows = [{"id": name, "text": text, "subdomain": name} for name, text in texts().items()]
    write_rows(root / "odd" / "test" / "test-00000000.jsonl.gz", rows)
    return root


@pytest.fixture(scope="module")
def expected(odd: Path) -> dict[str, list[float]]:
    reference, tokenizer = Reference(odd), load_tokenizer(odd)
    return {name: reference.document(next(tokenizer.encode([text])).tolist(), 0) for name, text in texts().items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-5)])
@pytest.mark.parametrize("batch_tokens", [1, 60, 5000])
def test_every_token_of_odd_documents_is_that_of_the_reference(
    odd: Path, odd_suite: Path, expected: dict[str, list[float]], tmp_path: Path, read_rows: Callable[..., Any],
    dtype: Any, tolerance: float, batch_tokens: int,
) -> None:  # fmt: skip
    config = RunConfig(
        model=str(odd), suite=odd_suite, output=tmp_path / "P", device="cpu", dtype=dtype, batch_tokens=batch_tokens
    )
    evaluate(config)
    found = {row["id"]: row["log_probabilities"] for row in read_rows(tmp_path / "P" / "worst.jsonl.gz")}
    assert found.keys() == expected.keys()
    sizes = [len(expected[name]) for name in ("one token", "one window", "a window and a token", "three windows")]
    assert sizes == [1, LENGTH, LENGTH + 1, 3 * LENGTH]
    for name, values in expected.items():
        assert len(found[name]) == len(values)
        assert np.abs(np.subtract(found[name], values)).max() <= tolerance, name
    for row in read_rows(tmp_path / "P" / "documents.jsonl.gz"):
        assert abs(row["log_probability"] - sum(expected[row["id"]])) <= tolerance * row["tokens"]


def test_empty_document_is_refused(odd: Path, write_rows: Callable[..., Path], tmp_path: Path) -> None:
    write_rows(tmp_path / "S" / "odd" / "test" / "t.jsonl.gz", [{"id": "a", "text": "b"}, {"id": "e", "text": ""}])
    with pytest.raises(UserError, match=r"the document is empty .*line 2"):
        evaluate(RunConfig(model=str(odd), suite=tmp_path / "S", output=tmp_path / "P", device="cpu"))
    assert not (tmp_path / "P").exists()
