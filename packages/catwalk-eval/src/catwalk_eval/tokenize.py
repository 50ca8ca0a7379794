"""From text to token ids: where the context ends and the scored continuation begins.

``separate`` encodes context and continuation each by itself. ``joint`` encodes them as one text; a token that
spans the join belongs to the continuation, so that the scored tokens cover the whole continuation, the model
reads exactly one tokenisation, and no continuation is ever empty.

The same file, ``tokenizer.json``, is read by the same code for written requests and for scoring.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from .config import Boundary
from .errors import UserError
from .files import digest_file, read_json

# Names of the usual begin and end tokens, for a tokenizer.json without a tokenizer_config.json beside it.
BEGIN_NAMES = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]")
SPACE_MARKS = ("▁", "Ġ")  # how token names of SentencePiece and byte-level tokenizers write a space
END_NAMES = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "[EOS]")


@dataclass(frozen=True)
class Pair:
    """Token ids of a request; neither part is empty. ``leading`` ids of the context were put there by the tokenizer."""

    context_ids: tuple[int, ...]
    continuation_ids: tuple[int, ...]
    leading: int


def tokenizer_file(path: Path) -> Path:
    """``path`` itself, or the ``tokenizer.json`` in the folder ``path``."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError("no tokenizer.json", where=file, fix="give the file, or the folder it lies in")
    return file


class Encoder:
    """A tokenizer with a boundary policy. Use :meth:`load`."""

    def __init__(self, tokenizer: Tokenizer, boundary: Boundary, leading: tuple[int, ...], prefix: int, digest: str):
        self.tokenizer = tokenizer
        self.boundary = boundary
        self.leading = leading
        self.prefix = prefix
        self.digest = digest
        # Some tokenizers (Llama's SentencePiece kind) put a space before every text themselves; with a second one the
        # continuation would begin with a token that never follows a context.
        self.adds_space = "".join(tokenizer.encode("A", add_special_tokens=False).tokens).startswith(SPACE_MARKS)
        self.cached = lru_cache(maxsize=65536)(self.ids)

    @classmethod
    def load(cls, file: Path, boundary: Boundary) -> Encoder:
        """Read ``tokenizer.json``; truncation, padding and added specials of its own are switched off."""
        description = read_json(file)
        if not isinstance(description, dict):
            raise UserError("not a tokenizer: no JSON object", where=file, fix="give a tokenizer.json")
        try:
            whole = Tokenizer.from_str(json.dumps(description))
            plain = Tokenizer.from_str(
                json.dumps(description | {"post_processor": None, "truncation": None, "padding": None})
            )
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"not a tokenizer: {error}", where=file, fix="give a tokenizer.json") from error
        whole.no_truncation()
        whole.no_padding()
        with_specials = whole.encode("A").ids
        plain.encode_special_tokens = True  # text that spells a special token is text, as it was in training
        body = plain.encode("A", add_special_tokens=False).ids
        leading = tuple(with_specials[: _find(with_specials, body)])
        prefix = leading[0] if leading else _prefix_token(plain, file)
        return cls(plain, boundary, leading, prefix, digest_file(file))

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    def ids(self, text: str) -> tuple[int, ...]:
        """Ids of ``text``, nothing added."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def pair(self, context: str, continuation: str) -> Pair:
        """Ids of ``context`` and ``continuation``; an empty context is the prefix token (BOS, else EOS).

        Raises UserError where the continuation has no token at all.
        """
        if self.boundary == "joint" and context:
            before, after = self._joint(context, continuation)
        else:
            spoken = continuation
            if self.adds_space and continuation[:1] == " " and len(continuation) > 1:
                spoken = continuation[1:]
            before, after = self.cached(context), self.cached(spoken)
        if not after:
            raise UserError(f"the continuation {continuation!r} has no tokens", fix="mend the request")
        head = (*self.leading, *before)
        return Pair(head, after, len(self.leading)) if head else Pair((self.prefix,), after, 1)

    def _joint(self, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        encoding = self.tokenizer.encode(context + continuation, add_special_tokens=False)
        boundary = len(context)
        cut = next((k for k, (_, end) in enumerate(encoding.offsets) if end > boundary), len(encoding.ids) - 1)
        return tuple(encoding.ids[:cut]), tuple(encoding.ids[cut:])


def _find(whole: list[int], part: list[int]) -> int:
    """Where ``part`` begins in ``whole``; 0 if nowhere."""
    return next((k for k in range(len(whole) - len(part) + 1) if whole[k : k + len(part)] == part), 0)


def _prefix_token(tokenizer: Tokenizer, file: Path) -> int:
    """BOS, else EOS: as tokenizer_config.json beside the file says, else by the usual names."""
    config = file.with_name("tokenizer_config.json")
    names: list[str] = []
    if config.is_file():
        stated = read_json(config)
        for key in ("bos_token", "eos_token"):
            token = stated.get(key) if isinstance(stated, dict) else 0
            token = token.get("content") if isinstance(token, dict) else token
            if not isinstance(token, str | None):
                raise UserError(f"{key} is no text", where=config, fix="mend the file")
            names += [token] if token else []
    for name in (*names, *BEGIN_NAMES, *END_NAMES):
        token_id = tokenizer.token_to_id(name)
        if token_id is not None:
            return int(token_id)
    raise UserError(
        "the tokenizer has no begin or end token",
        where=file,
        fix="name bos_token or eos_token in tokenizer_config.json",
    )
