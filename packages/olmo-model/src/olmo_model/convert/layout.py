"""Which weights an architecture has, under OLMo's own names and under Hugging Face's.

A native weight is one Hugging Face weight, or several stacked along the rows. So both directions, whole models and
single tensors, need nothing but this table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..config.model import ModelConfig
from ..errors import UserError

Shape = tuple[int, ...]


def layout(config: ModelConfig) -> dict[str, dict[str, Shape]]:
    """For each native name the Hugging Face names whose weights it stacks, and the shape of each of them.

    Rows of ``att_proj`` are queries, keys, values; of ``ff_proj`` first up, then gate. A tied head is not stored. The
    norms are those of ``OlmoForCausalLM`` (none), ``LlamaForCausalLM`` or ``Olmo2ForCausalLM``.
    """
    D, M = config.d_model, config.mlp_hidden_size // 2
    Q, K, V = config.projections
    weighted = config.norm == "rms_norm"
    before_attention = "post_attention_layernorm" if config.norm_after else "input_layernorm"
    before_mlp = "post_feedforward_layernorm" if config.norm_after else "post_attention_layernorm"
    found: dict[str, dict[str, Shape]] = {
        "transformer.wte.weight": {"model.embed_tokens.weight": (config.embedding_size, D)}
    }
    if weighted:
        found["transformer.ln_f.weight"] = {"model.norm.weight": (D,)}
    for layer in range(config.n_layers):
        ours, theirs = f"transformer.blocks.{layer}.", f"model.layers.{layer}."
        parts: dict[str, dict[str, Shape]] = {
            "att_proj": {"self_attn.q_proj": (Q, D), "self_attn.k_proj": (K, D), "self_attn.v_proj": (V, D)},
            "attn_out": {"self_attn.o_proj": (D, D)},
            "ff_proj": {"mlp.up_proj": (M, D), "mlp.gate_proj": (M, D)},
            "ff_out": {"mlp.down_proj": (D, M)},
        }
        if weighted:
            parts |= {"attn_norm": {before_attention: (D,)}, "ff_norm": {before_mlp: (D,)}}
        if config.qk_norm:
            parts |= {"q_norm": {"self_attn.q_norm": (Q,)}, "k_norm": {"self_attn.k_norm": (K,)}}
        for name, pieces in parts.items():
            found[f"{ours}{name}.weight"] = {f"{theirs}{piece}.weight": shape for piece, shape in pieces.items()}
    if not config.weight_tying:
        found["transformer.ff_out.weight"] = {"lm_head.weight": (config.embedding_size, D)}
    return found


def pieces_of(config: ModelConfig) -> dict[str, Shape]:
    """Every weight by its Hugging Face name, with its shape, in the order of ``layout``."""
    return {name: shape for pieces in layout(config).values() for name, shape in pieces.items()}


def native_shape(pieces: Mapping[str, Shape]) -> Shape:
    """Shape of the native weight that stacks these pieces."""
    first = next(iter(pieces.values()))
    return (sum(shape[0] for shape in pieces.values()), *first[1:])


def split(weight: Tensor, pieces: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The Hugging Face weights inside a native one, as views of it."""
    return dict(zip(pieces, torch.split(weight, [shape[0] for shape in pieces.values()]), strict=True))


def check_weights(
    found: Mapping[str, Shape], expected: Mapping[str, Shape], where: str | Path, extra: Iterable[str] = ()
) -> None:
    """Refuse a missing, misshaped or unknown weight; ``extra`` are names that may be there and do not count."""
    for name, shape in expected.items():
        if name not in found:
            raise UserError(f"the weight {name} is missing", where=where, fix="fetch or make the model again")
        if tuple(found[name]) != shape:
            raise UserError(
                f"the weight {name} has shape {tuple(found[name])}, not {shape}",
                where=where,
                fix="mend the configuration beside it, or fetch the model again",
            )
    unknown = set(found) - set(expected) - set(extra)
    if unknown:
        raise UserError(
            f"the weight {min(unknown)} has no place in this architecture",
            where=where,
            fix="mend the configuration beside it, or give a model of the OLMo family",
        )


def check_layers(found: Iterable[str], config: ModelConfig, stem: str, where: str | Path) -> None:
    """Refuse a configuration with more layers than are stored, before a table of all of them is made; ``stem`` stands
    before a layer's number."""
    there = {name.removeprefix(stem).split(".", 1)[0] for name in found if name.startswith(stem)}
    for layer in range(config.n_layers):
        if str(layer) not in there:
            raise UserError(
                f"the weights {stem}{layer}.* are missing", where=where, fix="fetch or make the model again"
            )


def superfluous(names: Iterable[str], config: ModelConfig) -> set[str]:
    """Hugging Face weights that older writers store without need: rotary tables, and a tied head a second time."""
    return {
        name
        for name in names
        if re.search(r"rotary_emb\.inv_freq$", name) or (config.weight_tying and name == "lm_head.weight")
    }
