"""A tiny run with its checkpoints, and a provenance record, built by hand after docs/artifacts.md."""

from __future__ import annotations

from pathlib import Path

from builders.corpus import tokenizer_file
from builders.files import EOS, PAD, digest, read_json, write, write_json, write_rows


def checkpoint(root: Path, folder: Path | None = None, step: int = 4) -> Path:
    """A tiny OLMo with tied embeddings, and its training state."""
    import torch
    import torch.distributed.checkpoint
    from transformers import OlmoConfig, OlmoForCausalLM

    folder = folder or root / f"step{step}"
    torch.manual_seed(0)
    config = OlmoConfig(
        vocab_size=264,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        tie_word_embeddings=True,
    )
    model = OlmoForCausalLM(config)
    model.save_pretrained(str(folder))
    tokenizer_file(folder)
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"},
    )
    state = {"step": step, "moments": torch.tensor([1.5, 2.5, 3.5])}
    torch.distributed.checkpoint.save(state, checkpoint_id=str(folder / "train"), no_dist=True)
    manifest = {
        "artifact": "checkpoint",
        "format_version": 1,
        "step": step,
        "tokens_seen": 128,
        "ephemeral": False,
        "ranks": 1,
        "parameters": model.num_parameters(),
    }
    manifest |= {"dtype": "float32", "tokenizer_digest": digest(folder / "tokenizer.json")}
    write_json(folder / "manifest.json", manifest | {"files": digests(folder)})
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Of every file of a checkpoint but its manifest, by its path in the folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file != folder / "manifest.json"]
    return {file.relative_to(folder).as_posix(): digest(file) for file in files}


def run(root: Path) -> Path:
    """Two checkpoints, one resume."""
    folder = root / "run"
    for step in (2, 4):
        checkpoint(root, folder / f"step{step}", step)
    rows = [
        {"step": step, "time": 10.0 + step, "train/CrossEntropyLoss": 3.0 - step / 10, "optim/learning_rate": 0.001}
        | {"optim/total_grad_norm": 1.0, "throughput/tokens_per_second": 99.0, "throughput/total_tokens": 32 * step}
        for step in (1, 2, 3, 4)
    ]
    rows[3] |= {
        "eval/perplexity/all/CrossEntropyLoss": 2.5,
        "eval/perplexity/all/bits_per_byte": 1.5,
        "eval/downstream/quiz_acc_raw": 0.5,
    }
    write_rows(folder / "metrics.jsonl", rows)
    fingerprint = "sha256:" + "4" * 64
    order = {
        "format_version": 1,
        "first_step": 1,
        "first_instance": 0,
        "epoch": 0,
        "batch_size": 4,
        "sequence_length": 8,
        "seed": 6198,
    }
    order |= {
        "instances": 100,
        "mixture": None,
        "skipped_steps": [],
        "tokens_fingerprint": fingerprint,
        "order": "olmo",
    }
    write_rows(folder / "data_order.jsonl", [order, {**order, "first_step": 3, "first_instance": 8}])
    write(folder / "config.yaml", b"run_name: tiny\nseed: 6198\n")
    write(folder / "latest", b"step4\n")
    last = read_json(folder / "step4" / "manifest.json")
    manifest = {"artifact": "run", "format_version": 1, "run_name": "tiny", "parameters": last["parameters"]}
    manifest |= {"tokens_fingerprint": fingerprint, "tokenizer_digest": last["tokenizer_digest"]}
    write_json(folder / "manifest.json", manifest)
    return folder


def provenance(root: Path, command: str = "train-tokenizer") -> Path:
    """The record of a command in the folder that it wrote."""
    record = {
        "format_version": 1,
        "package": "dolma-data",
        "package_version": "0.1.0",
        "command": command,
        "arguments": [command],
        "config": {"size": 1},
        "seed": None,
        "inputs": {"a": "sha256:" + "5" * 64},
        "outputs": {},
        "counts": {"documents": 2},
        "started": "2026-01-01T00:00:00.000+00:00",
        "finished": "2026-01-01T00:00:01.000+00:00",
        "python": "3.11.7",
        "machine": "Linux",
    }
    folder = root / "provenance"
    write_json(folder / f"20260101T000000-{command}-0123abcd.json", record)
    return folder
