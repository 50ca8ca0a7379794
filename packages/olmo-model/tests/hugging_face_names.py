"""Weights, or their gradients, under Hugging Face's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from olmo_model.config.model import ModelConfig
from olmo_model.convert.layout import layout, split


def to_hugging_face(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """A whole state dict; the fused weights are cut into their parts."""
    return {
        name: part.contiguous()
        for native, pieces in layout(config).items()
        for name, part in split(state[native], pieces).items()
    }
