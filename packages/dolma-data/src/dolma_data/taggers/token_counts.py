"""Lengths of documents in tokens of a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..batch import Batch, Spans, whole_documents
from ..errors import UserError
from .registry import Need, tagger

TOKENIZER = Need("a tokenizer.json")


def read_tokenizer(files: tuple[Path, ...]) -> Any:
    """The tokenizer of a file of the package tokenizers."""
    from tokenizers import Tokenizer

    (path,) = files
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises Exception itself
        raise UserError(f"not a tokenizer: {error}", where=path, fix="name a tokenizer.json") from error


def _enter(name: str, type_of_span: str, stripped: bool, made_for: str) -> None:
    def count(batch: Batch, resource: Any) -> Iterator[Spans]:
        texts = [text.strip() for text in batch.texts] if stripped else batch.texts
        # Blank texts have no token even where the tokenizer adds one to every text.
        encodings = resource.encode_batch_fast(texts, add_special_tokens=stripped)
        counts = [len(encoding) if text or not stripped else 0 for encoding, text in zip(encodings, texts, strict=True)]
        yield whole_documents(batch, type_of_span, counts)

    of_what = "the text without white space at its ends" if stripped else "the text"
    count.__doc__ = f"Tokens of {of_what}, by the tokenizer given."
    source = f"a tokenizer, such as {made_for}, as in allenai/dolma"
    tagger(name, types=(type_of_span,), source=source, need=TOKENIZER, load=read_tokenizer)(count)


_enter("dolma_v1_tokenizer", "length", True, "allenai/gpt-neox-olmo-dolma-v1_5")
_enter("dolma_v2_tokenizer", "length", True, "allenai/dolma2-tokenizer")
_enter("tokenizers_EleutherAI_GPT_NeoX_20B", "tokens", False, "EleutherAI/gpt-neox-20b")
_enter("tokenizers_AI2_OLMo_v1", "tokens", False, "allenai/eleuther-ai-gpt-neox-20b-pii-special")
