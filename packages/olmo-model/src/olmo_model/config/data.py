"""What to train on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError
from ..ranges import LARGEST_SEED, whole

TokenType = Literal["uint8", "uint16", "uint32", "uint64"]


@dataclass(frozen=True, kw_only=True)
class InstanceFilterSettings:
    """Leave instances out of the loss that repeat one short piece many times in a row (as OLMo 2 did)."""

    enabled: bool = False
    """Whether to look for them."""

    min_period: int = field(default=1, metadata=whole(1, 1024))
    """Ids of the shortest piece to look for."""

    max_period: int = field(default=13, metadata=whole(1, 1024))
    """Ids of the longest piece to look for."""

    max_count: int = field(default=32, metadata=whole(3))
    """Repetitions in a row from which on an instance is left out."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What to train on."""

    tokens: str
    """Folder of the tokens artifact, or, with files, the folder that they lie below."""

    files: tuple[str, ...] = ()
    """Files of bare token ids, as OLMo's trainer reads them, in this order, where there is no artifact; a file may
    come several times. Their vocabulary and the id that ends a document are then those of the model settings."""

    dtype: TokenType | None = None
    """Type of an id in files; uint16 where unset."""

    tokenizer: str | None = None
    """The tokenizer.json of files, which every checkpoint gets."""

    label_masks: tuple[str, ...] | None = None
    """Files with a byte for every id, one file for each token file in their order: 0 where nothing has to predict the
    id. None where every id is a label."""

    seed: int | None = field(default=None, metadata=whole(0, LARGEST_SEED))
    """Seed of the data order; that of the run where unset."""

    sequence_length: int | None = field(default=None, metadata=whole(2))
    """Tokens of an instance; the model's max_sequence_length where unset."""

    attention_within_documents: bool = False
    """Let no token attend to those of another document in its instance (Dubey et al. 2024, section 3.2); OLMo 1 lets
    them. Positions still count from the beginning of the instance, and the first token of a document is still predicted
    from the end of the one before."""

    instance_filter: InstanceFilterSettings = field(default_factory=InstanceFilterSettings)
    """Which instances are left out of the loss."""

    def __post_init__(self) -> None:
        if not self.files and (self.tokenizer is not None or self.dtype is not None):
            raise UserError(
                "data.dtype and data.tokenizer belong to data.files", where="configuration", fix="leave them out"
            )
        if self.files and self.tokenizer is None:
            raise UserError("data.files need data.tokenizer", where="configuration", fix="give their tokenizer.json")
