"""Named sizes. The large three are those of OLMo v1 (Groeneveld et al. 2024, table 1), the small ones the same design
for a laptop: tied head, MLP of about 8/3 of the width, context that a processor can pay for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .config.model import ModelConfig, ModelSettings, padded
from .errors import UserError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A size: what of a ModelConfig does not depend on the tokenizer."""

    d_model: int
    n_heads: int
    n_layers: int
    mlp_hidden_size: int
    max_sequence_length: int
    weight_tying: bool


PRESETS: dict[str, Preset] = {
    name: Preset(
        d_model=d_model,
        n_heads=n_heads,
        n_layers=n_layers,
        mlp_hidden_size=mlp,
        max_sequence_length=length,
        weight_tying=tied,
    )
    for name, (d_model, n_heads, n_layers, mlp, length, tied) in {
        # about the named size with a vocabulary of 4,096
        "olmo-1m": (128, 4, 3, 768, 256, True),
        "olmo-2m": (192, 4, 3, 1024, 256, True),
        "olmo-3m": (256, 4, 3, 1408, 256, True),
        "olmo-5m": (256, 4, 5, 1408, 256, True),
        # about the named size with a vocabulary of 50,280
        "olmo-20m": (256, 8, 8, 1408, 1024, True),
        "olmo-60m": (512, 8, 10, 2816, 1024, True),
        "olmo-150m": (768, 12, 14, 4096, 1024, True),
        # OLMo v1
        "olmo-1b": (2048, 16, 16, 16384, 2048, True),
        "olmo-7b": (4096, 32, 32, 22016, 2048, False),
        "olmo-65b": (8192, 64, 80, 44032, 2048, False),
    }.items()
}


def model_config(settings: ModelSettings, *, vocab_size: int, eos_token_id: int, pad_token_id: int) -> ModelConfig:
    """The complete architecture: the preset, the fields set by the user over it, the tokenizer's facts below both.

    Raises UserError for an unknown preset, with the nearest name, and for a shape that cannot be.
    """
    if settings.preset not in PRESETS:
        raise UserError(
            f"unknown preset {settings.preset!r}", where="model.preset", fix="choose one of " + ", ".join(PRESETS)
        )
    given = {key: value for key, value in dataclasses.asdict(settings).items() if key != "preset" and value is not None}
    facts = {"vocab_size": vocab_size, "eos_token_id": eos_token_id, "pad_token_id": pad_token_id}
    merged = dataclasses.asdict(PRESETS[settings.preset]) | facts | given
    merged.setdefault("embedding_size", padded(merged["vocab_size"]))
    return ModelConfig(**merged)


def parameter_count(config: ModelConfig) -> int:
    """Number of weights, from the shapes alone. The same as counting them in a built model."""
    block = 4 * config.d_model**2 + config.d_model * config.mlp_hidden_size * 3 // 2
    tables = 1 if config.weight_tying else 2
    return tables * config.embedding_size * config.d_model + config.n_layers * block
