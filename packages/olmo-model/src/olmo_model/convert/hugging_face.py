"""``config.json`` of transformers' Olmo, Olmo2 and Llama, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.model import LAYER_NORM_EPS, ModelConfig, Norm
from ..errors import UserError

WHERE = "config.json"
FAMILY = "give a model of type olmo, olmo2 or llama"
WHOLE_NUMBERS = (
    "hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "max_position_embeddings",
    "vocab_size", "eos_token_id",
)  # fmt: skip
ARCHITECTURES = {"olmo": "OlmoForCausalLM", "olmo2": "Olmo2ForCausalLM", "llama": "LlamaForCausalLM"}
DEFAULT_RMS_EPS = {"olmo2": 1e-5, "llama": 1e-6}  # of transformers, where the file states none


def to_hugging_face_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """``config.json`` of the model. The rotary base is written in the old and in the new spelling."""
    values = {
        "architectures": [ARCHITECTURES[config.twin]],
        "model_type": config.twin,
        "vocab_size": config.embedding_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_hidden_size // 2,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_sequence_length,
        "initializer_range": 0.02,
        "use_cache": True,
        "pad_token_id": config.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": config.eos_token_id,
        "tie_word_embeddings": config.weight_tying,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "torch_dtype": dtype,
        "dtype": dtype,
    }
    if config.twin == "olmo":
        return values | {"clip_qkv": config.clip_qkv}
    more = {"rms_norm_eps": config.norm_eps}
    return values | more | ({"mlp_bias": False, "head_dim": config.head_size} if config.twin == "llama" else {})


def from_hugging_face_config(values: Mapping[str, Any], vocab_size: int | None = None) -> ModelConfig:
    """The architecture that ``config.json`` describes; what is not of the OLMo family is a UserError.

    ``vocab_size`` is the tokenizer's; the embedding's rows where it is not known.
    """
    kind = values.get("model_type")
    if kind not in ARCHITECTURES:
        raise UserError(f"model_type is {kind!r}", where=WHERE, fix=FAMILY)
    for key in WHOLE_NUMBERS:
        if values.get(key) is None:
            raise UserError(f"the configuration lacks {key}", where=WHERE, fix="fetch the model again")
        if type(values[key]) is not int:
            raise UserError(f"{key} is {values[key]!r}, no whole number", where=WHERE, fix="fetch the model again")
    if vocab_size is not None and vocab_size > values["vocab_size"]:
        raise UserError(
            f"the tokenizer has {vocab_size} ids, the model {values['vocab_size']} rows for them",
            where=WHERE,
            fix="give the model's own tokenizer",
        )
    heads = values["num_attention_heads"]
    _refuse_unsupported(values)
    eos, pad = values["eos_token_id"], values.get("pad_token_id")
    kv_heads = values.get("num_key_value_heads")
    norm: Norm = "layer_norm" if kind == "olmo" else "rms_norm"
    base = (values.get("rope_parameters") or {}).get("rope_theta", values.get("rope_theta"))
    return ModelConfig(
        d_model=values["hidden_size"],
        n_heads=heads,
        n_kv_heads=None if kv_heads == heads else kv_heads,
        n_layers=values["num_hidden_layers"],
        mlp_hidden_size=2 * values["intermediate_size"],
        max_sequence_length=values["max_position_embeddings"],
        vocab_size=vocab_size or values["vocab_size"],
        embedding_size=values["vocab_size"],
        eos_token_id=eos,
        pad_token_id=eos if pad is None or pad < 0 else pad,
        weight_tying=bool(values.get("tie_word_embeddings", False)),
        clip_qkv=values.get("clip_qkv"),
        rope_theta=10000.0 if base is None else base,
        norm=norm,
        norm_eps=LAYER_NORM_EPS if kind == "olmo" else values.get("rms_norm_eps", DEFAULT_RMS_EPS[kind]),
        norm_after=kind == "olmo2",
        qk_norm=kind == "olmo2",
    )


def _refuse_unsupported(values: Mapping[str, Any]) -> None:
    rope, scaling = values.get("rope_parameters") or {}, values.get("rope_scaling") or {}
    if not isinstance(rope, Mapping) or not isinstance(scaling, Mapping):
        raise UserError("rope_parameters or rope_scaling is no JSON object", where=WHERE, fix="fetch the model again")
    kinds = (rope.get("rope_type", "default"), scaling.get("rope_type", scaling.get("type", "default")))
    width, heads, head = values["hidden_size"], values["num_attention_heads"], values.get("head_dim")
    pad = values.get("pad_token_id")
    unsupported = {
        "biases in attention": bool(values.get("attention_bias")),
        "biases in the MLP": bool(values.get("mlp_bias")),
        "scaled rotary embeddings": kinds != ("default", "default"),
        f"activation {values.get('hidden_act')}": values.get("hidden_act", "silu") != "silu",
        f"heads of size {head}": head is not None and head * heads != width,
        f"pad_token_id {pad!r}": pad is not None and type(pad) is not int,
    }
    for what, present in unsupported.items():
        if present:
            raise UserError(f"{what}: no part of the OLMo family", where=WHERE, fix=FAMILY)
