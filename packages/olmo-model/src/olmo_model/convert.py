"""Names of the weights: OLMo's own and Hugging Face's, one to one and back without a changed byte."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .config.model import ModelConfig
from .errors import UserError

WHERE = "config.json"
WHOLE_NUMBERS = (
    "hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "max_position_embeddings",
    "vocab_size", "eos_token_id",
)  # fmt: skip


def to_hugging_face(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """OLMo's names to those of ``OlmoForCausalLM``; the fused projections are cut into their parts.

    Rows of ``att_proj`` are queries, keys, values; of ``ff_proj`` first up, then gate. A tied head is not stored.
    """
    out = {"model.embed_tokens.weight": state["transformer.wte.weight"]}
    for layer in range(config.n_layers):
        ours, theirs = f"transformer.blocks.{layer}.", f"model.layers.{layer}."
        q, k, v = state[ours + "att_proj.weight"].chunk(3)
        up, gate = state[ours + "ff_proj.weight"].chunk(2)
        out |= {
            theirs + "self_attn.q_proj.weight": q,
            theirs + "self_attn.k_proj.weight": k,
            theirs + "self_attn.v_proj.weight": v,
            theirs + "self_attn.o_proj.weight": state[ours + "attn_out.weight"],
            theirs + "mlp.up_proj.weight": up,
            theirs + "mlp.gate_proj.weight": gate,
            theirs + "mlp.down_proj.weight": state[ours + "ff_out.weight"],
        }
    if not config.weight_tying:
        out["lm_head.weight"] = state["transformer.ff_out.weight"]
    return {name: weight.contiguous() for name, weight in out.items()}


def from_hugging_face(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The way back. A missing, unknown or wrongly shaped weight is a UserError that names it."""
    left = {name: weight for name, weight in state.items() if not re.search(r"rotary_emb\.inv_freq$", name)}
    if config.weight_tying:
        left.pop("lm_head.weight", None)  # older writers store the tied head a second time
    D, M = config.d_model, config.mlp_hidden_size // 2

    def take(name: str, *shape: int) -> Tensor:
        if name not in left:
            raise UserError(f"the weight {name} is missing", where="checkpoint", fix="fetch or make the model again")
        weight = left.pop(name)
        if tuple(weight.shape) != shape:
            raise UserError(
                f"the weight {name} has shape {tuple(weight.shape)}, not {shape}",
                where="checkpoint",
                fix="mend config.json",
            )
        return weight

    out = {"transformer.wte.weight": take("model.embed_tokens.weight", config.embedding_size, D)}
    for layer in range(config.n_layers):
        ours, theirs = f"transformer.blocks.{layer}.", f"model.layers.{layer}."
        out |= {
            ours + "att_proj.weight": torch.cat(
                [take(f"{theirs}self_attn.{name}_proj.weight", D, D) for name in "qkv"]
            ),
            ours + "attn_out.weight": take(theirs + "self_attn.o_proj.weight", D, D),
            ours + "ff_proj.weight": torch.cat(
                [take(f"{theirs}mlp.{name}_proj.weight", M, D) for name in ("up", "gate")]
            ),
            ours + "ff_out.weight": take(theirs + "mlp.down_proj.weight", D, M),
        }
    if not config.weight_tying:
        out["transformer.ff_out.weight"] = take("lm_head.weight", config.embedding_size, D)
    if left:
        raise UserError(
            f"the weight {min(left)} has no place in this architecture", where="checkpoint", fix="give an OLMo v1 model"
        )
    return out


def to_hugging_face_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """``config.json`` of the model. The rotary base is written in the old and in the new spelling."""
    return {
        "architectures": ["OlmoForCausalLM"],
        "model_type": "olmo",
        "vocab_size": config.embedding_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_hidden_size // 2,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_heads,
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
        "clip_qkv": config.clip_qkv,
        "torch_dtype": dtype,
        "dtype": dtype,
    }


def from_hugging_face_config(values: Mapping[str, Any], vocab_size: int | None = None) -> ModelConfig:
    """The architecture that ``config.json`` describes; what OLMo v1 cannot do is a UserError.

    ``vocab_size`` is the tokenizer's; the embedding's rows where it is not known.
    """
    if values.get("model_type") != "olmo":
        raise UserError(f"model_type is {values.get('model_type')!r}", where=WHERE, fix="give an OLMo v1 model (olmo)")
    for key in WHOLE_NUMBERS:
        if values.get(key) is None:
            raise UserError(f"the configuration lacks {key}", where=WHERE, fix="fetch the model again")
        if type(values[key]) is not int:
            raise UserError(f"{key} is {values[key]!r}, no whole number", where=WHERE, fix="fetch the model again")
    rope: Mapping[str, Any] = values.get("rope_parameters") or {}
    scaling = values.get("rope_scaling") or {}
    if not isinstance(rope, Mapping) or not isinstance(scaling, Mapping):
        raise UserError("rope_parameters or rope_scaling is no JSON object", where=WHERE, fix="fetch the model again")
    kinds = (rope.get("rope_type", "default"), scaling.get("rope_type", scaling.get("type", "default")))
    unsupported = {
        "grouped keys and values": values.get("num_key_value_heads") not in (None, values["num_attention_heads"]),
        "biases in attention": bool(values.get("attention_bias")),
        "scaled rotary embeddings": kinds != ("default", "default"),
        f"activation {values.get('hidden_act')}": values.get("hidden_act", "silu") != "silu",
    }
    for what, present in unsupported.items():
        if present:
            raise UserError(f"{what} are no part of OLMo v1", where=WHERE, fix="give an OLMo v1 model")
    eos, pad = values["eos_token_id"], values.get("pad_token_id")
    base = rope.get("rope_theta", values.get("rope_theta"))
    return ModelConfig(
        d_model=values["hidden_size"],
        n_heads=values["num_attention_heads"],
        n_layers=values["num_hidden_layers"],
        mlp_hidden_size=2 * values["intermediate_size"],
        max_sequence_length=values["max_position_embeddings"],
        vocab_size=vocab_size or values["vocab_size"],
        embedding_size=values["vocab_size"],
        eos_token_id=eos,
        pad_token_id=eos if pad is None else pad,
        weight_tying=bool(values.get("tie_word_embeddings", False)),
        clip_qkv=values.get("clip_qkv"),
        rope_theta=10000.0 if base is None else base,
    )
