"""Official OLMo checkpoints (allenai/OLMo): ``config.yaml`` and ``model.pt`` or ``model.safetensors``, and the folders
of its older Hugging Face code (``hf_olmo``: the same fields in ``config.json``)."""

from __future__ import annotations

import base64
import pickletools
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config.model import ModelConfig
from ..errors import UserError

# Defaults of OLMo's own ModelConfig, where a file leaves the key out (olmo/config.py, the same in v0.2.5 and v0.6.0)
DEFAULTS: dict[str, Any] = {
    "d_model": 768, "n_heads": 12, "n_kv_heads": None, "multi_query_attention": None, "clip_qkv": None, "n_layers": 12,
    "mlp_ratio": 4, "mlp_hidden_size": None, "activation_type": "swiglu", "block_type": "sequential", "alibi": False,
    "rope": False, "rope_theta": 10_000, "attention_layer_norm": False, "embedding_layer_norm": False,
    "layer_norm_type": "default", "layer_norm_with_affine": True, "layer_norm_eps": 1e-5,
    "attention_layer_norm_with_affine": True, "max_sequence_length": 1024, "include_bias": True,
    "bias_for_layer_norm": None, "scale_logits": False, "vocab_size": 50257, "embedding_size": 50304,
    "weight_tying": True, "eos_token_id": 50256, "pad_token_id": 50256, "norm_after": False,
}  # fmt: skip
WHOLE_NUMBERS = (
    "d_model", "n_heads", "n_layers", "mlp_ratio", "max_sequence_length", "vocab_size", "eos_token_id", "pad_token_id",
)  # fmt: skip
NORMS = {"default": "layer_norm", "low_precision": "layer_norm", "rms": "rms_norm"}
FIX = "convert it with the code it was made with"
BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.")
GROUP = re.compile(r"transformer\.block_groups\.(\d+)\.(\d+)\.")


def from_official_config(given: Mapping[str, Any], where: str | Path) -> ModelConfig:
    """The architecture that the ``model`` section of an official ``config.yaml`` describes.

    What changes no weight and no logit (dropout, initialisation, kernels, precision) is left out of account; what this
    package does not compute is a UserError that names the key.
    """
    values = {**DEFAULTS, **given}
    for key in WHOLE_NUMBERS:
        if type(values[key]) is not int:
            raise UserError(f"model.{key} is {values[key]!r}, no whole number", where=where, fix="mend it")
    biases = values["include_bias"] or values["bias_for_layer_norm"]
    norm = NORMS.get(values["layer_norm_type"])
    weighted = values["layer_norm_with_affine"]
    refused = {
        "block_type": values["block_type"] != "sequential",
        "activation_type": values["activation_type"] != "swiglu",
        "rope": not values["rope"],
        "alibi": bool(values["alibi"]),
        "include_bias": bool(values["include_bias"]),
        "bias_for_layer_norm": bool(biases),
        "embedding_layer_norm": bool(values["embedding_layer_norm"]),
        "scale_logits": bool(values["scale_logits"]),
        "layer_norm_type": norm is None,
        "layer_norm_with_affine": weighted is not (norm == "rms_norm"),
        "attention_layer_norm_with_affine": bool(values["attention_layer_norm"])
        and values["attention_layer_norm_with_affine"] is not True,
    }
    for key, present in refused.items():
        if present:
            raise UserError(
                f"model.{key} is {values[key]!r}, which no Hugging Face model of the OLMo family has",
                where=where,
                fix=FIX,
            )
    heads = values["n_heads"]
    kv_heads = 1 if values["multi_query_attention"] else values["n_kv_heads"]
    embedding, theta = values["embedding_size"], values["rope_theta"]
    try:
        return ModelConfig(
            d_model=values["d_model"],
            n_heads=heads,
            n_kv_heads=None if kv_heads == heads else kv_heads,
            n_layers=values["n_layers"],
            mlp_hidden_size=values["mlp_hidden_size"] or values["mlp_ratio"] * values["d_model"],
            max_sequence_length=values["max_sequence_length"],
            vocab_size=values["vocab_size"],
            embedding_size=values["vocab_size"] if embedding is None else embedding,
            eos_token_id=values["eos_token_id"],
            pad_token_id=values["pad_token_id"],
            weight_tying=bool(values["weight_tying"]),
            clip_qkv=values["clip_qkv"],
            rope_theta=float(theta) if type(theta) is int else theta,
            norm="layer_norm" if norm == "layer_norm" else "rms_norm",
            norm_eps=values["layer_norm_eps"],
            norm_after=bool(values["norm_after"]),
            qk_norm=bool(values["attention_layer_norm"]),
        )
    except UserError as error:
        raise UserError(error.what, where=where, fix=error.fix) from error


def to_official_config(config: ModelConfig) -> dict[str, Any]:
    """The ``model`` section of ``config.yaml``; keys that OLMo v0.2.5 does not know are left out where it has no need
    of them."""
    rms = config.norm == "rms_norm"
    values: dict[str, Any] = {
        "d_model": config.d_model,
        "n_heads": config.n_heads,
        "clip_qkv": config.clip_qkv,
        "n_layers": config.n_layers,
        "mlp_hidden_size": config.mlp_hidden_size,
        "activation_type": "swiglu",
        "block_type": "sequential",
        "block_group_size": 1,
        "alibi": False,
        "rope": True,
        "rope_full_precision": True,
        "flash_attention": False,
        "attention_dropout": 0.0,
        "residual_dropout": 0.0,
        "embedding_dropout": 0.0,
        "attention_layer_norm": config.qk_norm,
        "layer_norm_type": "rms" if rms else "default",
        "layer_norm_with_affine": rms,
        "attention_layer_norm_with_affine": config.qk_norm,
        "include_bias": False,
        "bias_for_layer_norm": False,
        "max_sequence_length": config.max_sequence_length,
        "vocab_size": config.vocab_size,
        "embedding_size": config.embedding_size,
        "weight_tying": config.weight_tying,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    }
    theta = config.rope_theta
    if theta != DEFAULTS["rope_theta"]:
        values["rope_theta"] = int(theta) if theta == int(theta) else theta
    if config.kv_heads != config.n_heads:
        values["n_kv_heads"] = config.n_kv_heads
    if config.norm_eps != DEFAULTS["layer_norm_eps"]:
        values["layer_norm_eps"] = config.norm_eps
    if config.norm_after:
        values["norm_after"] = True
    return values


def native_names(stored: Collection[str]) -> dict[str, str]:
    """For each native name the name it is stored under, whatever of OLMo's code wrote it.

    Known are the prefixes ``_fsdp_wrapped_module.`` and ``model.`` (of hf_olmo), ``block_groups.G.I`` for the block
    ``G * size + I``, the single ``norm`` of early blocks, which stands for ``attn_norm`` and ``ff_norm``, and the names
    that OLMo's own safetensors files hold.
    """
    plain = {name: _decoded(name).replace("_fsdp_wrapped_module.", "").removeprefix("model.") for name in stored}
    size = 1 + max((int(match[2]) for match in map(GROUP.match, plain.values()) if match), default=0)
    found: dict[str, str] = {}
    for name, short in plain.items():
        match = GROUP.match(short)
        native = f"transformer.blocks.{int(match[1]) * size + int(match[2])}.{short[match.end() :]}" if match else short
        for one in _norms(native):
            if one in found:
                raise UserError(f"{name} and {found[one]} are the same weight", where="weights", fix="remove one")
            found[one] = name
    return found


def _decoded(name: str) -> str:
    """A name out of OLMo's safetensors files, which hold the base64 of the pickle of ``((name,), False)``
    (allenai/OLMo, olmo/safetensors_util.py); any other as it is. The pickle's texts are picked out; nothing of it is
    executed."""
    try:
        parts = [part for _, part, _ in pickletools.genops(base64.b64decode(name, b"-_", validate=True))]
    except ValueError:  # no base64, or no pickle
        return name
    return ".".join(part for part in parts if isinstance(part, str))


def _norms(name: str) -> Iterable[str]:
    if BLOCK.match(name) and name.endswith(".norm.weight"):
        stem = name.removesuffix("norm.weight")
        return f"{stem}attn_norm.weight", f"{stem}ff_norm.weight"
    return (name,)
