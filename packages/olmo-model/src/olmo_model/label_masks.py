"""Which ids of the training data nothing has to predict: a byte for every id, in files beside the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UserError
from .tokens import Instances


class LabelMasks:
    """Files of bytes, 0 where an id is no label, as long as the token files and in their order (OLMo's
    ``label_mask_paths``)."""

    def __init__(self, files: Sequence[str], instances: Instances) -> None:
        self.instances = instances
        lengths = instances.tokens.lengths
        if len(files) != len(lengths):
            raise UserError(
                f"there are {len(files)} files of label masks for {len(lengths)} of tokens",
                where="data.label_masks",
                fix="give one for each, in the same order",
            )
        self.arrays = [_opened(Path(file), length) for file, length in zip(files, lengths, strict=True)]

    def batch(self, numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Of several instances, whether each id is a label: [B, T]."""
        length = self.instances.sequence_length
        out = np.empty((len(numbers), length), dtype=np.bool_)
        for row, number in enumerate(numbers):
            file, start = self.instances.place(int(number))
            out[row] = self.arrays[file][start : start + length]
        return out


def _opened(file: Path, length: int) -> npt.NDArray[Any]:
    if not file.is_file():
        raise UserError("the file of label masks is missing", where=file, fix="check data.label_masks")
    size = file.stat().st_size
    if size != length:
        raise UserError(
            f"the file has {size} bytes for {length} ids", where=file, fix="give a byte for each id of its token file"
        )
    return np.memmap(file, dtype=np.bool_, mode="r") if length else np.empty(0, dtype=np.bool_)
