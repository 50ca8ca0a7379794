"""That two folders hold the same model: their logits on a sample text."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config.model import ModelConfig
from ..errors import UserError
from ..model import Block, Norm, rotary_tables
from ..model_folder import NativeWeights
from ..presets import parameter_count
from ..tokens import load_tokenizer

TOLERANCE = 1e-5  # of the largest logit, or of 1 where all are smaller
SAMPLE = (
    "A model that was carried from one format to another must say the same as before: the same words, with the same "
    "weight. def same(left, right): return all(a == b for a, b in zip(left, right))  # 1, 2, 3, 50279\n"
)


def sample_ids(config: ModelConfig, tokenizer: Path | None) -> Tensor:
    """Ids of the sample text, [1, T]; numbers spread over the vocabulary where there is no tokenizer."""
    if tokenizer is None:
        ids = [7919 * place % config.embedding_size for place in range(64)]
    else:
        ids = load_tokenizer(tokenizer).encode(SAMPLE).ids
    return torch.tensor([[number for number in ids if number < config.embedding_size][: config.max_sequence_length]])


@torch.inference_mode()
def logits_of(weights: NativeWeights, ids: Tensor) -> Tensor:
    """Logits [B, T, V] in float32, with one block of the model in memory at a time."""

    def read(name: str) -> Tensor:
        return weights.read(name).float()

    config = weights.config
    tables = (table[: ids.shape[1]] for table in rotary_tables(config, ids.device))
    cosine, sine = tables
    x = F.embedding(ids, read("transformer.wte.weight"))
    for layer in range(config.n_layers):
        with torch.device("meta"):
            block = Block(config)
        names = list(block.state_dict())
        block.load_state_dict({name: read(f"transformer.blocks.{layer}.{name}") for name in names}, assign=True)
        x = block(x, cosine, sine)
    last = Norm(config, config.d_model)
    last.load_state_dict({name: read(f"transformer.ln_f.{name}") for name in last.state_dict()})
    return F.linear(last(x), read("transformer." + ("wte" if config.weight_tying else "ff_out") + ".weight"))


def transformers_can_run(config: ModelConfig) -> bool:
    """Whether transformers is installed and the memory holds the model in float32 twice (it loads, then casts)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return importlib.util.find_spec("transformers") is not None and 8 * parameter_count(config) < memory


@torch.inference_mode()
def logits_of_transformers(folder: Path, ids: Tensor) -> Tensor:
    """Logits [B, T, V] in float32 as Hugging Face's own code computes them."""
    import transformers

    try:
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"transformers does not load the model: {reason}", where=folder, fix="update it") from error
    logits = model.float().eval()(ids).logits
    assert isinstance(logits, Tensor)
    return logits


def largest_difference(left: Tensor, right: Tensor, where: Path) -> float:
    """Largest difference of two sets of logits over the larger of 1 and the largest of them; beyond the tolerance it is
    a UserError."""
    difference = float((left - right).abs().max() / left.abs().max().clamp(min=1))
    if not difference <= TOLERANCE:  # NaN too
        raise UserError(
            f"the logits of the two models differ by {difference:.1e}, more than {TOLERANCE:.0e}; nothing was written",
            where=where,
            fix="check that the configuration belongs to the weights",
        )
    return difference
