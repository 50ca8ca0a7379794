"""Which instances repeat one short piece over and over: their labels are left out of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def repeating(
    instances: npt.NDArray[Any], *, min_period: int, max_period: int, max_count: int
) -> npt.NDArray[np.bool_]:
    """For each row of ``instances`` [B, T], whether some n-gram stands ``max_count`` times or more in a row: [B].

    An n-gram of p ids, p from ``min_period`` to ``max_period``, repeats c times in a row where a stretch of the row,
    each of whose ids after the first p equals the one p places before it, is c * p ids long or longer (the rule of
    OLMo's instance filter, allenai/OLMo, olmo/data/util.py, from three times on). Such instances set off loss spikes
    (OLMo et al. 2024).
    """
    found = np.zeros(len(instances), dtype=np.bool_)
    length = instances.shape[1]
    for period in range(min_period, max_period + 1):
        needed = (max_count - 1) * period  # equal pairs in a row, beside the first n-gram itself
        if needed + period > length:
            break
        equal = instances[:, period:] == instances[:, :-period]  # [B, T - period]
        counts = np.zeros((len(instances), length - period + 1), dtype=np.int32)
        np.cumsum(equal, axis=1, out=counts[:, 1:])
        found |= (counts[:, needed:] - counts[:, : counts.shape[1] - needed] == needed).any(axis=1)
    return found
