"""Token ids of documents, read from a ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from .errors import UserError
from .files import digest_file, read_json

TOKENIZER_FILE = "tokenizer.json"
BOS_NAMES = ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|bos|>", "[BOS]", "<|begin_of_sentence|>")
EOS_NAMES = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "[EOS]", "<|end_of_sentence|>")
METASPACE, REPLACEMENT = "\u2581", "\ufffd"
BATCH = 256  # documents handed to the tokenizer at once
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer and what the artifacts say of it."""

    tokenizer: Tokenizer
    path: Path
    digest: str
    vocab_size: int  # one more than the largest id, added tokens included
    bos_token_id: int | None
    eos_token_id: int | None
    unknown_token_id: int | None

    def encode(self, texts: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of each text, nothing added; special tokens written out in a text are plain text."""
        pending = iter(texts)
        while batch := list(islice(pending, BATCH)):
            for encoding in self.tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                yield np.array(encoding.ids, dtype=np.int32)

    def unencodable(self, characters: Iterable[str]) -> set[str]:
        """Those of ``characters`` that leave no ids, or ids of unknown or incomplete characters. White space, and the
        character that stands for it in SentencePiece, always passes.
        """
        asked = [character for character in characters if not character.isspace() and character != METASPACE]
        return {
            character
            for character, ids in zip(asked, self.encode(asked), strict=True)
            if self.has_unknown(ids) or not self.spelled(ids) or REPLACEMENT in self.spelled(ids).replace(character, "")
        }

    def has_unknown(self, ids: Ids) -> bool:
        """Whether some token only says that it is not in the vocabulary."""
        return self.unknown_token_id is not None and bool((ids == self.unknown_token_id).any())

    def spelled(self, ids: Ids) -> str:
        text: str = self.tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        return text.strip(f" {METASPACE}")

    def prefix(self, given: int | None, format_name: str) -> int:
        """Token before the first one of a text: BOS, else EOS; in training format EOS, which parts documents there."""
        if given is not None:
            if not 0 <= given < self.vocab_size:
                raise UserError(
                    f"the tokenizer has no token {given}", where=self.path, fix=f"give one below {self.vocab_size}"
                )
            return given
        order = (self.bos_token_id, self.eos_token_id)
        for token in reversed(order) if format_name == "training" else order:
            if token is not None:
                return token
        raise UserError("no well-known BOS or EOS token", where=self.path, fix="give --prefix-token-id")


def load_tokenizer(path: Path) -> LoadedTokenizer:
    """Load ``tokenizer.json``, given itself or by its folder."""
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError("no such tokenizer", where=file, fix="give a tokenizer.json or a folder that holds one")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"not a tokenizer: {error}", where=file, fix="give a Hugging Face tokenizer.json") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    added = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    return LoadedTokenizer(
        tokenizer,
        file,
        digest_file(file),
        max(ids, default=-1) + 1,
        next((added[name] for name in BOS_NAMES if name in added), None),
        next((added[name] for name in EOS_NAMES if name in added), None),
        unknown_token(tokenizer, file),
    )


def unknown_token(tokenizer: Tokenizer, file: Path) -> int | None:
    """Id of the token for what is not in the vocabulary."""
    if isinstance(tokenizer.model, models.Unigram):  # which does not tell
        stated = read_json(file)["model"].get("unk_id")
        return stated if isinstance(stated, int) else None
    name = tokenizer.model.unk_token
    return tokenizer.token_to_id(name) if name else None
