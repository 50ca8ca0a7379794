"""Text from a model, token by token, with the keys and values of earlier positions kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from .config.commands import GenerateConfig
from .errors import UserError
from .model import Cache, Transformer
from .model_folder import load_model
from .run_folder import resolve
from .tokens import load_tokenizer

FinishReason = Literal["end", "length", "context"]


@torch.inference_mode()
def continue_ids(
    model: Transformer,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
    vocab_size: int | None = None,
) -> tuple[list[int], FinishReason]:
    """New ids after ``ids``, and why they end: the end of a document, the length asked for, or a full context.

    The end-of-document id is not among them. ``vocab_size`` is the tokenizer's: rows of the embedding past it are
    never drawn.
    """
    config = model.config
    if not 1 <= len(ids) <= config.max_sequence_length:
        raise UserError(
            f"the prompt has {len(ids)} tokens; the model reads 1 to {config.max_sequence_length}",
            fix="shorten the prompt",
        )
    device = model.head.device
    generator = torch.Generator().manual_seed(seed)
    cache: Cache = []
    new: list[int] = []
    pending = list(ids)
    while True:
        hidden = model.hidden(torch.tensor([pending], device=device), cache)[0, -1]
        logits = (model.head @ hidden).float().cpu()[: vocab_size or config.vocab_size]
        if not logits.isfinite().all():
            raise UserError("the model gives numbers that are not finite", fix="check its weights")
        if temperature == 0:
            chosen = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits[logits < logits.topk(top_k).values[-1]] = -torch.inf
            probabilities = torch.softmax((logits - logits.max()) / temperature, dim=0)
            chosen = int(torch.multinomial(probabilities, 1, generator=generator))
        if chosen == config.eos_token_id:
            return new, "end"
        new.append(chosen)
        if len(new) == max_new_tokens:
            return new, "length"
        if len(ids) + len(new) > config.max_sequence_length:
            return new, "context"
        pending = [chosen]


def generate(checkpoint: str | Path, config: GenerateConfig) -> dict[str, Any]:
    """Continue a prompt with the model and tokenizer of a folder."""
    folder = resolve(checkpoint)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    model = load_model(folder)
    try:
        config.prompt.encode()
    except UnicodeEncodeError as error:
        raise UserError("the prompt is not UTF-8 text", where="prompt", fix="give it in UTF-8") from error
    ids = tokenizer.encode(config.prompt).ids or [model.config.eos_token_id]
    if max(ids) >= model.config.vocab_size:
        raise UserError(
            f"the tokenizer gives id {max(ids)}, the model has ids below {model.config.vocab_size}",
            where=folder / "tokenizer.json",
            fix="put the model's own tokenizer.json there",
        )
    new, reason = continue_ids(
        model,
        ids,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        seed=config.seed,
        vocab_size=tokenizer.get_vocab_size(),
    )
    before, after = (tokenizer.decode(part, skip_special_tokens=False) for part in (ids, ids + new))
    return {
        "prompt": config.prompt,
        "text": after.removeprefix(before),
        "tokens": new,
        "prompt_tokens": ids,
        "finish_reason": reason,
        "temperature": config.temperature,
        "top_k": config.top_k,
        "seed": config.seed,
        "checkpoint": str(folder),
    }
