"""What is compared with ai2-olmo and transformers: plain values that every side reads, whatever is installed there."""

from __future__ import annotations

from typing import Any

TORCH_SEED = 20
PROMPT = "the cat sat on a mat"
NEW_TOKENS = 24
BATCH, LENGTH = 3, 48  # of the ids that models read

SHAPE: dict[str, Any] = {
    "d_model": 64, "n_heads": 4, "n_kv_heads": None, "n_layers": 3, "mlp_hidden_size": 256, "max_sequence_length": 96,
    "vocab_size": 258, "embedding_size": 384, "eos_token_id": 0, "pad_token_id": 1, "weight_tying": True,
    "clip_qkv": None, "rope_theta": 10000.0, "norm": "layer_norm", "norm_eps": 1e-5, "norm_after": False,
    "qk_norm": False,
}  # fmt: skip
UNTIED = {"weight_tying": False}
RMS = {"norm": "rms_norm", "norm_eps": 1e-6}
OLMO2 = RMS | {"norm_after": True, "qk_norm": True, "rope_theta": 500_000.0}

# By name what differs from SHAPE, in the fields of olmo-model's ModelConfig
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "olmo tied": {},
    "olmo untied": UNTIED,
    "olmo tied clip_qkv": {"clip_qkv": 0.8},
    "olmo untied clip_qkv": UNTIED | {"clip_qkv": 0.8},
    "olmo grouped": UNTIED | {"n_kv_heads": 2},
    "olmo one kv head": {"n_kv_heads": 1, "clip_qkv": 0.8},
    "olmo unpadded": {"embedding_size": 258},
    "olmo heads of 128": {"d_model": 256, "n_heads": 2, "n_layers": 2, "mlp_hidden_size": 512},
    "olmo reads padding": UNTIED,
    "olmo bfloat16": {},
    "llama tied": RMS,
    "llama untied": RMS | UNTIED,
    "llama grouped": RMS | UNTIED | {"n_kv_heads": 2},
    "olmo2 tied": OLMO2,
    "olmo2 untied": OLMO2 | UNTIED,
    "olmo2 grouped": OLMO2 | UNTIED | {"n_kv_heads": 2},
}
READS_PADDING = "olmo reads padding"  # its ids hold the padding id; those of the others do not
BFLOAT16 = "olmo bfloat16"  # its weights are stored in bfloat16, and are such in float32 too

STEPS = 100
SAVED_AT, CONTINUED_TO = 50, 70  # the checkpoint of ai2-olmo that olmo-model goes on from, and how far
SEQUENCE, GLOBAL_BATCH, MICRO_BATCH, SEED = 32, 8, 4, 6198
FILTER = {"max_period": 4, "min_period": 1, "max_count": 6}
SMALL = {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_sequence_length": SEQUENCE}

# By name: the architecture, and the recipe in OLMo's own words (olmo/config.py); the loss is "v1" or "late"
TRAININGS: dict[str, dict[str, Any]] = {
    "v1": {
        "loss": "v1",
        "model": {"clip_qkv": 3.0},
        "optimizer": {"name": "adamw", "learning_rate": 4e-3, "eps": 1e-5},
        "scheduler": {"name": "linear_with_warmup", "t_warmup": 20},
        "max_grad_norm": 0.5,
    },
    "v1, z-loss, looser bound at first": {
        "loss": "v1",
        "model": UNTIED,
        "z_loss": True,
        "optimizer": {"name": "adamw", "learning_rate": 3e-3, "eps": 1e-5},
        "scheduler": {
            "name": "linear_with_warmup", "t_warmup": 20, "grad_clip_warmup_steps": 30, "grad_clip_warmup_factor": 4.0,
        },
        "max_grad_norm": 0.2,
    },
    "late, z-loss, instance filter": {
        "loss": "late",
        "model": RMS | UNTIED,
        "z_loss": True,
        "filter": True,
        "optimizer": {
            "name": "adamw", "learning_rate": 4e-3, "eps": 1e-8, "decay_norm_and_bias": True, "decay_embeddings": True,
        },
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": 20, "warmup_min_lr": 0.0},
        "max_grad_norm": 0.5,
    },
    "late, OLMo 2, tokens, second epoch's cosine": {
        "loss": "late",
        "model": OLMO2 | UNTIED | {"n_kv_heads": 2},
        "optimizer": {"name": "adamw", "learning_rate": 4e-3, "eps": 1e-8, "decay_norm_and_bias": True},
        "scheduler": {
            "name": "cosine_with_warmup", "units": "tokens", "t_warmup": 20 * GLOBAL_BATCH * SEQUENCE,
            "t_max": 80 * GLOBAL_BATCH * SEQUENCE, "warmup_min_lr": 0.0,
        },
        "max_grad_norm": 1.0,
    },
    "late, bound by ratio": {
        "loss": "late",
        "model": {},
        "optimizer": {"name": "adamw", "learning_rate": 4e-3, "eps": 1e-5},
        "scheduler": {"name": "max_scheduler", "t_warmup": 20},
        "max_grad_norm_ratio": 1.05,
    },
    "late, LionW": {
        "loss": "late",
        "model": UNTIED,
        "optimizer": {"name": "lionw", "learning_rate": 3e-4},
        "scheduler": {"name": "inverse_sqrt_with_warmup", "t_warmup": 20},
        "max_grad_norm": 1.0,
    },
}  # fmt: skip
WEIGHT_DECAY, Z_LOSS = 0.1, 1e-4

# (instances, seed, epoch, ranks, instances of a step, steps left out at a restart)
ORDERS = [
    (instances, seed, epoch, ranks, batch, skipped)
    for instances, batch, skipped in ((1000, 24, 0), (1003, 24, 7), (97, 8, 0), (4096, 64, 3))
    for seed in (0, 6198)
    for epoch in (0, 1, 5)
    for ranks in (1, 2, 4, 8)
]

REPETITIONS = (3, 6)  # times in a row from which on an instance counts as repeating

# By name: a schedule in OLMo's words, its peak, its end, and from where to where it is looked at
SCHEDULES: dict[str, tuple[dict[str, Any], float, int, int, int]] = {
    **{
        name: ({"name": name, "t_warmup": 200, "alpha_f": 0.1}, 3e-4, 2000, 1, 2200)
        for name in (
            "linear_with_warmup", "cosine_with_warmup", "inverse_sqrt_with_warmup", "max_scheduler", "constant",
            "constant_with_warmup", "cosine_linear_envelope",
        )
    },
    "warm-up from 0": ({"name": "linear_with_warmup", "t_warmup": 200, "warmup_min_lr": 0.0}, 3e-4, 2000, 1, 400),
    "the 7B's final anneal": (
        {"name": "linear_with_warmup", "t_warmup": 556_000, "t_max": 557_000, "alpha_f": 0.001}, 2.3e-5, 557_001,
        556_000, 557_002,
    ),
}  # fmt: skip

INITIAL_SHAPE = {"d_model": 256, "n_heads": 4, "n_layers": 3, "mlp_hidden_size": 1024, "embedding_size": 2048}
# By name: how the first weights are drawn, in words that both packages share, and the architecture
INITIALIZATIONS: dict[str, dict[str, Any]] = {
    "mitchell tied": {"init_fn": "mitchell", "model": {}},
    "mitchell untied": {"init_fn": "mitchell", "model": UNTIED},
    "normal": {"init_fn": "normal", "init_std": 0.02, "model": UNTIED},
    "normal cut at 3": {"init_fn": "normal", "init_std": 0.02, "init_cutoff_factor": 3.0, "model": OLMO2 | UNTIED},
    "full_megatron": {"init_fn": "full_megatron", "init_std": 0.02, "model": RMS | UNTIED},
}


def folder_name(case: str) -> str:
    """The name of a case as that of a folder."""
    return case.replace(",", "").replace(" ", "-").replace("'", "")


def training_model(case: str) -> dict[str, Any]:
    """Architecture of a training, complete."""
    return SHAPE | SMALL | TRAININGS[case]["model"]


def initial_model(case: str) -> dict[str, Any]:
    """Architecture of an initialisation, complete."""
    return SHAPE | INITIAL_SHAPE | INITIALIZATIONS[case]["model"]
