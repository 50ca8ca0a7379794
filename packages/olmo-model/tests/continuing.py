"""One prompt alone, for tests that say nothing of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from olmo_model.generate import FinishReason, Request, continue_all
from olmo_model.model import Transformer
from olmo_model.sampling import Sampling


def continue_ids(
    model: Transformer, ids: Sequence[int], *, max_new_tokens: int, seed: int = 0, vocab_size: int | None = None,
    **sampling: Any,
) -> tuple[list[int], FinishReason]:  # fmt: skip
    """New ids after ``ids``, and why they end."""
    request = Request(ids=tuple(ids), seed=seed)
    options = {"max_new_tokens": max_new_tokens, "vocab_size": vocab_size, "sampling": Sampling(**sampling)}
    ((_, found),) = continue_all(model, [request], **options)
    return found.ids, found.finish_reason
