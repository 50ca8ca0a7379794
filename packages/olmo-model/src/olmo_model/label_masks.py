"""Which ids of the training data nothing has to predict: a byte for every id, in files beside the tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import UserError
from .pieces import Pieces, open_files
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
        opened = open_files(files, np.bool_)
        for file, length in zip(opened, lengths, strict=True):
            if file.size != length:
                raise UserError(
                    f"the file has {file.size} bytes for {length} ids",
                    where=file.name,
                    fix="give a byte for each id of its token file",
                )
        self.pieces = Pieces(opened, instances.sequence_length, instances.tokens.cache_bytes)

    def batch(self, numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Of several instances, whether each id is a label: [B, T]."""
        found = self.pieces.read(self.instances.places(numbers))
        labels: npt.NDArray[np.bool_] = np.stack(found)
        return labels
