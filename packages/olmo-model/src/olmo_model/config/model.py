"""The architecture, and how a user names one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError
from ..ranges import above, check_ranges, whole

Norm = Literal["layer_norm", "rms_norm"]
InitFunction = Literal["mitchell", "normal", "normal_v1", "full_megatron"]
Twin = Literal["olmo", "llama", "olmo2"]

ROW_MULTIPLE = (
    128  # rows of the embedding and width of the MLP are multiples of this (Groeneveld et al. 2024, section 2)
)
LAYER_NORM_EPS = 1e-5  # the only one that transformers' Olmo knows


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """How the first weights are drawn: truncated normals, each tensor from a stream of its own."""

    init_fn: InitFunction = "mitchell"
    """mitchell (OLMo v1), normal (OLMo 2 and later), normal_v1 (normal as OLMo v0.2.5 had it: the MLP's output also
    divided by sqrt(2 n_layers)), or full_megatron."""

    init_std: float | None = field(default=None, metadata=above(0))
    """Standard deviation, of normal, normal_v1 and full_megatron; mitchell takes its own from the widths."""

    init_cutoff_factor: float | None = field(default=None, metadata=above(0))
    """Cut the distribution at this many standard deviations. Unset: 3 for mitchell and full_megatron, no cut else."""

    def __post_init__(self) -> None:
        check_ranges(self, "model")
        if self.init_fn == "mitchell" and self.init_std is not None:
            raise UserError(
                "mitchell takes no init_std", where="model.init_std", fix="leave it unset, or choose another init_fn"
            )
        if self.init_fn != "mitchell" and self.init_std is None:
            raise UserError(f"{self.init_fn} needs an init_std", where="model.init_std", fix="give one, such as 0.02")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture, complete: OLMo v1 (Groeneveld et al. 2024, arXiv 2402.00838), its siblings with RMS norms, and
    OLMo 2 (OLMo Team 2024, arXiv 2501.00656). Every one has a twin in Hugging Face's transformers."""

    d_model: int = field(metadata=whole(1))
    """Width of the residual stream."""

    n_heads: int = field(metadata=whole(1))
    """Attention heads; d_model is a multiple of it."""

    n_kv_heads: int | None = field(default=None, metadata=whole(1))
    """Heads of keys and values, a divisor of n_heads; as many as n_heads where unset (Ainslie et al. 2023)."""

    n_layers: int = field(metadata=whole(1))
    """Transformer blocks."""

    mlp_hidden_size: int = field(metadata=whole(1))
    """Width of the fused gate and up projection, twice the width of the MLP; a multiple of 128."""

    max_sequence_length: int = field(metadata=whole(1))
    """Longest input in tokens; the rotary tables are made for it."""

    vocab_size: int = field(metadata=whole(1))
    """Ids of the tokenizer."""

    embedding_size: int = field(metadata=whole(1))
    """Rows of the embedding and of the head: vocab_size padded to a multiple of 128."""

    eos_token_id: int = field(metadata=whole(0))
    """Id that ends a document."""

    pad_token_id: int = field(metadata=whole(0))
    """Id for padding; never trained on, but written to the model's configuration."""

    weight_tying: bool = True
    """Use the embedding as the output head."""

    clip_qkv: float | None = field(default=None, metadata=above(0))
    """Clamp the queries, keys and values to this magnitude."""

    rope_theta: float = field(default=10000.0, metadata=above(0))
    """Base of the rotary embedding's wave lengths."""

    norm: Norm = "layer_norm"
    """layer_norm without weight or bias, or rms_norm with a weight."""

    norm_eps: float = field(default=1e-5, metadata=above(0))
    """Added to the variance under the root."""

    norm_after: bool = False
    """Normalise what attention and MLP give, instead of what they read."""

    qk_norm: bool = False
    """Normalise queries and keys over their whole width, before they are cut into heads."""

    def __post_init__(self) -> None:
        check_ranges(self, "model")
        problems = {
            "d_model is not a multiple of n_heads": self.d_model % self.n_heads != 0,
            "n_heads is not a multiple of n_kv_heads": self.n_heads % self.kv_heads != 0,
            "the head size (d_model / n_heads) is odd": (self.d_model // self.n_heads) % 2 != 0,
            f"mlp_hidden_size is not a multiple of {ROW_MULTIPLE}": self.mlp_hidden_size % ROW_MULTIPLE != 0,
            "embedding_size is smaller than vocab_size": self.embedding_size < self.vocab_size,
            "eos_token_id lies outside the vocabulary": self.eos_token_id >= self.vocab_size,
            "pad_token_id lies outside the vocabulary": self.pad_token_id >= self.vocab_size,
        }
        for problem, present in problems.items():
            if present:
                raise UserError(problem, where="model", fix="change the model's shape")
        assert self.twin  # raises where there is none

    @property
    def head_size(self) -> int:
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def projections(self) -> tuple[int, int, int]:
        """Rows of the fused projection that are queries, keys and values."""
        return self.d_model, self.kv_heads * self.head_size, self.kv_heads * self.head_size

    @property
    def twin(self) -> Twin:
        """``model_type`` of the same architecture in transformers; one that has none is a UserError."""
        shape = (self.norm, self.norm_after, self.qk_norm)
        if shape == ("layer_norm", False, False) and self.norm_eps == LAYER_NORM_EPS:
            return "olmo"
        if shape == ("rms_norm", False, False) and self.clip_qkv is None:
            return "llama"
        if shape == ("rms_norm", True, True) and self.clip_qkv is None:
            return "olmo2"
        raise UserError(
            f"no Hugging Face model has norm {self.norm}, norm_eps {self.norm_eps}, norm_after {self.norm_after}, "
            f"qk_norm {self.qk_norm} and clip_qkv {self.clip_qkv} together",
            where="model",
            fix="choose layer_norm with norm_eps 1e-5 (Olmo), rms_norm without clip_qkv (Llama), or rms_norm with "
            "norm_after and qk_norm and without clip_qkv (Olmo2)",
        )


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model to train: a preset and, where wanted, other values for its fields."""

    preset: str = "olmo-3m"
    """Size to start from: olmo-1m, -2m, -3m, -5m, -20m, -60m or -150m (for laptops); olmo-tiny-20m, -60m, -150m, -300m
    or -700m; olmo-1b, olmo-7b, olmo-7b-1.7, olmo-35b, -50b or -65b; olmo2-1b, -7b, -13b or -32b."""

    d_model: int | None = field(default=None, metadata=whole(1))
    """Width of the residual stream, instead of the preset's."""

    n_heads: int | None = field(default=None, metadata=whole(1))
    """Attention heads, instead of the preset's."""

    n_kv_heads: int | None = field(default=None, metadata=whole(1))
    """Heads of keys and values, a divisor of n_heads, instead of the preset's."""

    n_layers: int | None = field(default=None, metadata=whole(1))
    """Transformer blocks, instead of the preset's."""

    mlp_hidden_size: int | None = field(default=None, metadata=whole(1))
    """Width of the fused gate and up projection (twice that of the MLP), instead of the preset's."""

    max_sequence_length: int | None = field(default=None, metadata=whole(1))
    """Longest input in tokens, instead of the preset's."""

    vocab_size: int | None = field(default=None, metadata=whole(1))
    """Ids of the tokenizer; taken from the tokens artifact where unset."""

    embedding_size: int | None = field(default=None, metadata=whole(1))
    """Rows of the embedding; vocab_size padded to a multiple of 128 where unset."""

    eos_token_id: int | None = field(default=None, metadata=whole(0))
    """Id that ends a document; taken from the tokens artifact where unset, refused where it differs from it."""

    pad_token_id: int | None = field(default=None, metadata=whole(0))
    """Id for padding; taken from the tokens artifact where unset."""

    weight_tying: bool | None = None
    """Use the embedding as the output head, instead of the preset's choice."""

    clip_qkv: float | None = field(default=None, metadata=above(0))
    """Clamp the queries, keys and values to this magnitude, instead of the preset's choice."""

    rope_theta: float | None = field(default=None, metadata=above(0))
    """Base of the rotary embedding, instead of the preset's."""

    norm: Norm | None = None
    """layer_norm without weight or bias, or rms_norm with a weight, instead of the preset's."""

    norm_eps: float | None = field(default=None, metadata=above(0))
    """Added to the variance under the root, instead of the preset's."""

    norm_after: bool | None = None
    """Normalise what attention and MLP give instead of what they read, instead of the preset's choice."""

    qk_norm: bool | None = None
    """Normalise queries and keys over their whole width, instead of the preset's choice."""

    init_fn: InitFunction | None = None
    """First weights instead of the preset's: mitchell, normal, normal_v1 or full_megatron. Resets init_std and
    init_cutoff_factor, which are then its own."""

    init_std: float | None = field(default=None, metadata=above(0))
    """Standard deviation of the first weights, of normal, normal_v1 and full_megatron."""

    init_cutoff_factor: float | None = field(default=None, metadata=above(0))
    """Cut the first weights at this many standard deviations. Unset: 3 for mitchell and full_megatron, no cut else."""


def padded(rows: int) -> int:
    """The next multiple of 128."""
    return math.ceil(rows / ROW_MULTIPLE) * ROW_MULTIPLE
