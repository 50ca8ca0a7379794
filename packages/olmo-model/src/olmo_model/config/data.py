"""What to train on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError
from ..ranges import LARGEST_SEED, above, check_ranges, whole

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
class SourceSettings:
    """One source of several, and how much of it an epoch takes."""

    tokens: str
    """Folder of its tokens artifact."""

    repeat: float | None = field(default=None, metadata=above(0))
    """How often an epoch takes each instance, 1 where unset; of a fraction, a part drawn anew each epoch once more."""

    weight: float | None = field(default=None, metadata=above(0))
    """Its share, beside the weights of the others, of an epoch that is as long as all sources together."""

    def __post_init__(self) -> None:
        check_ranges(self, "data.sources")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What to train on."""

    tokens: str = ""
    """Folder of the tokens artifact, or, with files, the folder or URL that they lie below."""

    sources: tuple[SourceSettings, ...] = ()
    """Several tokens artifacts in place of one, with how often each is taken in an epoch."""

    files: tuple[str, ...] = ()
    """Files of bare token ids, as OLMo's trainer reads them, in this order, where there is no artifact; a file may
    come several times. Of URLs (s3:// with olmo-model[s3], and what else fsspec opens) ranges are read. Their
    vocabulary and the id that ends a document are then those of the model settings."""

    dtype: TokenType | None = None
    """Type of an id in files; uint16 where unset."""

    tokenizer: str | None = None
    """The tokenizer.json of files, which every checkpoint gets."""

    check_eos: bool = True
    """Refuse files of which the ids say that model.eos_token_id ends none of their documents, or that another tokenizer
    made them. False where that is meant, such as one long text that has no end."""

    remote_cache: int = field(default=1 << 28, metadata=whole(1 << 16))
    """Bytes of memory, in each process, for ids of files that are read from URLs (s3:// and others)."""

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

    @property
    def folders(self) -> list[str]:
        """Every folder of tokens."""
        return [source.tokens for source in self.sources] or [self.tokens]

    def __post_init__(self) -> None:
        if bool(self.tokens) == bool(self.sources):
            what = "data.tokens and data.sources exclude each other" if self.tokens else "data.tokens is missing"
            raise UserError(what, where="configuration", fix="give the folder of the tokens, or data.sources")
        weighted = [source.weight is not None for source in self.sources]
        if any(weighted) and (not all(weighted) or any(source.repeat is not None for source in self.sources)):
            raise UserError(
                "data.sources mix repeat and weight", where="configuration", fix="give all of them one kind"
            )
        if self.sources and (self.files or self.label_masks):
            raise UserError(
                "data.files and data.label_masks belong to data.tokens", where="configuration", fix="leave them out"
            )
        if not self.files and (self.tokenizer is not None or self.dtype is not None):
            raise UserError(
                "data.dtype and data.tokenizer belong to data.files", where="configuration", fix="leave them out"
            )
        if self.files and self.tokenizer is None:
            raise UserError("data.files need data.tokenizer", where="configuration", fix="give their tokenizer.json")
