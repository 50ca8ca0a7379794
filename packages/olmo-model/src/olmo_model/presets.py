"""Named sizes, each with the way its first weights are drawn.

``olmo-1m`` to ``olmo-150m``: the design of OLMo v1 for a laptop, with a tied head, an MLP of about 8/3 of the width and
a context that a processor can pay for. ``olmo-tiny-*``: AI2's small models of June 2024 (allenai/OLMo, configs/tiny).
``olmo-1b``, ``-7b`` and ``-65b``: OLMo v1 (Groeneveld et al. 2024, table 1); ``olmo-35b`` and ``-50b``: allenai/OLMo,
configs/mitchish35 and 50; ``olmo-7b-1.7``: the 7B of April and July 2024. ``olmo2-*``: OLMo 2 (OLMo Team 2024, table 3;
the grouped queries of 32B as in its published configuration).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .config.model import LAYER_NORM_EPS, Initialization, ModelConfig, ModelSettings, Norm, padded
from .errors import UserError

MITCHELL = Initialization(init_fn="mitchell")
NORMAL = Initialization(init_fn="normal", init_std=0.02, init_cutoff_factor=3.0)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A size: what of a ModelConfig does not depend on the tokenizer, and the initialisation."""

    d_model: int
    n_heads: int
    n_layers: int
    mlp_hidden_size: int
    max_sequence_length: int
    weight_tying: bool = False
    n_kv_heads: int | None = None
    clip_qkv: float | None = None
    rope_theta: float = 10000.0
    norm: Norm = "layer_norm"
    norm_eps: float = LAYER_NORM_EPS
    norm_after: bool = False
    qk_norm: bool = False
    initialization: Initialization = MITCHELL


def _olmo(width: int, heads: int, layers: int, mlp: int, length: int, *, tied: bool) -> Preset:
    return Preset(
        d_model=width,
        n_heads=heads,
        n_layers=layers,
        mlp_hidden_size=mlp,
        max_sequence_length=length,
        weight_tying=tied,
    )


def _tiny(width: int, heads: int, layers: int, mlp: int) -> Preset:
    return dataclasses.replace(
        _olmo(width, heads, layers, mlp, 4096, tied=False), norm="rms_norm", norm_eps=1e-6, initialization=NORMAL
    )


def _olmo2(width: int, heads: int, layers: int, mlp: int, n_kv_heads: int | None = None) -> Preset:
    return dataclasses.replace(
        _tiny(width, heads, layers, mlp), n_kv_heads=n_kv_heads, norm_after=True, qk_norm=True, rope_theta=500_000.0
    )


PRESETS: dict[str, Preset] = {
    # about the named size with a vocabulary of 4,096
    "olmo-1m": _olmo(128, 4, 3, 768, 256, tied=True),
    "olmo-2m": _olmo(192, 4, 3, 1024, 256, tied=True),
    "olmo-3m": _olmo(256, 4, 3, 1408, 256, tied=True),
    "olmo-5m": _olmo(256, 4, 5, 1408, 256, tied=True),
    # about the named size with a vocabulary of 50,280
    "olmo-20m": _olmo(256, 8, 8, 1408, 1024, tied=True),
    "olmo-60m": _olmo(512, 8, 10, 2816, 1024, tied=True),
    "olmo-150m": _olmo(768, 12, 14, 4096, 1024, tied=True),
    # AI2's
    "olmo-tiny-20m": _tiny(256, 8, 8, 2048),
    "olmo-tiny-60m": _tiny(512, 8, 8, 4096),
    "olmo-tiny-150m": _tiny(768, 12, 12, 6144),
    "olmo-tiny-300m": _tiny(1024, 16, 16, 8192),
    "olmo-tiny-700m": _tiny(1536, 16, 16, 12288),
    "olmo-1b": _olmo(2048, 16, 16, 16384, 2048, tied=True),
    "olmo-7b": _olmo(4096, 32, 32, 22016, 2048, tied=False),
    "olmo-7b-1.7": dataclasses.replace(_olmo(4096, 32, 32, 22016, 4096, tied=False), clip_qkv=8.0),
    "olmo-35b": _olmo(7168, 56, 56, 37888, 2048, tied=False),
    "olmo-50b": _olmo(8192, 64, 64, 40960, 2048, tied=False),
    "olmo-65b": _olmo(8192, 64, 80, 44032, 2048, tied=False),
    "olmo2-1b": _olmo2(2048, 16, 16, 16384),
    "olmo2-7b": _olmo2(4096, 32, 32, 22016),
    "olmo2-13b": _olmo2(5120, 40, 40, 27648),
    "olmo2-32b": _olmo2(5120, 40, 64, 55296, n_kv_heads=8),
}


def find_preset(name: str) -> Preset:
    """The preset of this name; an unknown one is a UserError that lists them."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}", where="model.preset", fix="choose one of " + ", ".join(PRESETS))
    return PRESETS[name]


def model_config(settings: ModelSettings, *, vocab_size: int, eos_token_id: int, pad_token_id: int) -> ModelConfig:
    """The complete architecture: the preset, the fields set by the user over it, the tokenizer's facts below both.

    Raises UserError for an unknown preset, a shape that cannot be, and an architecture without a Hugging Face twin.
    """
    wanted = {field.name for field in dataclasses.fields(ModelConfig)}
    facts = {"vocab_size": vocab_size, "eos_token_id": eos_token_id, "pad_token_id": pad_token_id}
    given = {key: value for key, value in dataclasses.asdict(settings).items() if value is not None}
    merged = dataclasses.asdict(find_preset(settings.preset)) | facts | given
    merged.setdefault("embedding_size", padded(merged["vocab_size"]))
    return ModelConfig(**{key: value for key, value in merged.items() if key in wanted})


def model_initialization(settings: ModelSettings) -> Initialization:
    """How the first weights are drawn: as the preset says, with what the user set over it."""
    preset = find_preset(settings.preset).initialization
    names = [field.name for field in dataclasses.fields(Initialization)]
    given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    kept = {} if given.get("init_fn", preset.init_fn) != preset.init_fn else dataclasses.asdict(preset)
    return Initialization(**kept | given)


def parameter_count(config: ModelConfig) -> int:
    """Number of weights, from the shapes alone. The same as counting them in a built model."""
    D = config.d_model
    block = D * (sum(config.projections) + D) + D * config.mlp_hidden_size * 3 // 2
    norms = 0
    if config.norm == "rms_norm":
        norms = D + config.n_layers * (2 * D + (sum(config.projections[:2]) if config.qk_norm else 0))
    tables = 1 if config.weight_tying else 2
    return tables * config.embedding_size * D + config.n_layers * block + norms
