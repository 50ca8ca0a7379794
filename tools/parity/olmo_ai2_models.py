"""ai2-olmo's own model: its numbers on the weights of olmo-model, its checkpoints, its first weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hf_olmo import OLMoConfig, OLMoForCausalLM
from olmo.checkpoint import FullCheckpointer
from olmo.config import DistributedStrategy, ModelConfig, TrainConfig
from olmo.model import OLMo
from olmo.optim import build_optimizer
from olmo.safetensors_util import state_dict_to_safetensors_file
from olmo.train import cross_entropy_loss
from torch.nn.parallel import DistributedDataParallel

from . import olmo_cases as cases


def model_settings(architecture: dict[str, Any]) -> dict[str, Any]:
    """An architecture in OLMo's words."""
    same = (
        "d_model", "n_heads", "n_kv_heads", "n_layers", "mlp_hidden_size", "max_sequence_length", "vocab_size",
        "embedding_size", "eos_token_id", "pad_token_id", "weight_tying", "clip_qkv", "norm_after",
    )  # fmt: skip
    rms = architecture["norm"] == "rms_norm"
    return {key: architecture[key] for key in same} | {
        "rope": True,
        "rope_theta": int(architecture["rope_theta"]),
        "attention_layer_norm": architecture["qk_norm"],
        "layer_norm_type": "rms" if rms else "default",
        "layer_norm_with_affine": rms,
        "layer_norm_eps": architecture["norm_eps"],
        "bias_for_layer_norm": False,
        "include_bias": False,
        "attention_dropout": 0.0,
        "residual_dropout": 0.0,
        "embedding_dropout": 0.0,
        "init_device": "cpu",
        "init_fn": "mitchell",
    }


def read_weights(model: OLMo, file: Path) -> None:
    """Put weights of olmo-model in place; a name or a shape that differs is an error."""
    with np.load(file) as stored:
        model.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored.files})


def compute_models(work: Path) -> None:
    """For every architecture logits, loss and gradients on the weights of olmo-model, and the checkpoints."""
    for name, changes in cases.ARCHITECTURES.items():
        folder = work / "models" / cases.folder_name(name)
        settings = model_settings(cases.SHAPE | changes)
        model = OLMo(ModelConfig(**settings))
        read_weights(model, folder / "weights.npz")
        ids = torch.from_numpy(np.load(folder / "ids.npy"))
        logits = model(ids).logits
        loss, _ = cross_entropy_loss(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        found = {"logits": logits.detach(), "loss": loss.detach()}
        found |= {f"native/{key}": weight.grad for key, weight in model.named_parameters()}
        np.savez(folder / "ai2.npz", **{key: value.numpy() for key, value in found.items()})
        if name == cases.BFLOAT16:
            model.to(torch.bfloat16)
        write_checkpoints(model, settings, folder)


def write_checkpoints(model: OLMo, settings: dict[str, Any], folder: Path) -> None:
    """The same model as ai2-olmo writes it: ``model.pt``, its own safetensors, and its older Hugging Face code's."""
    config = TrainConfig(model=ModelConfig(**settings), distributed_strategy=DistributedStrategy.ddp)
    config.optimizer.name = "adamw"
    optimizer = build_optimizer(config, model)
    FullCheckpointer(config).save_checkpoint(folder / "ai2-pt", DistributedDataParallel(model), optimizer, {})
    (folder / "ai2-safetensors").mkdir()
    config.save(folder / "ai2-safetensors" / "config.yaml")
    state_dict_to_safetensors_file(model.state_dict(), folder / "ai2-safetensors" / "model.safetensors")
    OLMoForCausalLM(OLMoConfig(**settings), model).save_pretrained(folder / "ai2-hf_olmo")


def compute_initializations(work: Path) -> None:
    """The first weights of large tensors."""
    for name, given in cases.INITIALIZATIONS.items():
        torch.manual_seed(cases.TORCH_SEED)
        how = {key: value for key, value in given.items() if key != "model"}
        model = OLMo(ModelConfig(**model_settings(cases.initial_model(name)) | how))
        file = work / f"first-{cases.folder_name(name)}-ai2.npz"
        np.savez(file, **{key: weight.numpy() for key, weight in model.state_dict().items()})


def load_returned(work: Path) -> None:
    """Logits of the checkpoints that `olmo-model convert` wrote, and what in them is not as ai2-olmo wrote it."""
    result = {}
    for name in cases.ARCHITECTURES:
        folder = work / "models" / cases.folder_name(name)
        model = OLMo.from_checkpoint(str(folder / "olmo"))
        with torch.no_grad():
            logits = model(torch.from_numpy(np.load(folder / "ids.npy"))).logits
        np.save(folder / "logits-returned.npy", logits.numpy())
        before, after = (torch.load(folder / kind / "model.pt", weights_only=True) for kind in ("ai2-pt", "olmo"))
        configs = [
            ModelConfig.load(folder / kind / "config.yaml", key="model", validate_paths=False).asdict()
            for kind in ("ai2-pt", "olmo")
        ]
        result[name] = {
            "weights": sorted(
                key for key in before.keys() | after.keys() if not same_bytes(before.get(key), after.get(key))
            ),
            "settings": sorted(key for key in configs[0] if configs[0][key] != configs[1][key]),
        }
    (work / "returned.json").write_text(json.dumps(result), encoding="utf-8")


def same_bytes(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    if left is None or right is None or left.dtype != right.dtype or left.shape != right.shape:
        return False
    return torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8))
