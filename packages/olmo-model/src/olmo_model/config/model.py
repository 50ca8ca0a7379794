"""The architecture, and how a user names one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..errors import UserError
from ..ranges import above, check_ranges, whole

ROW_MULTIPLE = (
    128  # rows of the embedding and width of the MLP are multiples of this (Groeneveld et al. 2024, section 2)
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture, complete: OLMo v1 (Groeneveld et al. 2024, arXiv 2402.00838, table 1)."""

    d_model: int = field(metadata=whole(1))
    """Width of the residual stream."""

    n_heads: int = field(metadata=whole(1))
    """Attention heads; d_model is a multiple of it."""

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

    def __post_init__(self) -> None:
        check_ranges(self, "model")
        problems = {
            "d_model is not a multiple of n_heads": self.d_model % self.n_heads != 0,
            "the head size (d_model / n_heads) is odd": (self.d_model // self.n_heads) % 2 != 0,
            f"mlp_hidden_size is not a multiple of {ROW_MULTIPLE}": self.mlp_hidden_size % ROW_MULTIPLE != 0,
            "embedding_size is smaller than vocab_size": self.embedding_size < self.vocab_size,
            "eos_token_id lies outside the vocabulary": self.eos_token_id >= self.vocab_size,
            "pad_token_id lies outside the vocabulary": self.pad_token_id >= self.vocab_size,
        }
        for problem, present in problems.items():
            if present:
                raise UserError(problem, where="model", fix="change the model's shape")

    @property
    def head_size(self) -> int:
        return self.d_model // self.n_heads


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model to train: a preset and, where wanted, other values for its fields."""

    preset: str = "olmo-3m"
    """Size to start from: olmo-1m, -2m, -3m, -5m, -20m, -60m, -150m, olmo-1b, olmo-7b or olmo-65b."""

    d_model: int | None = field(default=None, metadata=whole(1))
    """Width of the residual stream, instead of the preset's."""

    n_heads: int | None = field(default=None, metadata=whole(1))
    """Attention heads, instead of the preset's."""

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
    """Clamp the queries, keys and values to this magnitude; unset means no clamp."""

    rope_theta: float | None = field(default=None, metadata=above(0))
    """Base of the rotary embedding, instead of the preset's 10000."""


def padded(rows: int) -> int:
    """The next multiple of 128."""
    return math.ceil(rows / ROW_MULTIPLE) * ROW_MULTIPLE
