"""From text to token ids: where the context ends and the scored continuation begins.

- ``separate`` encodes context and continuation each by itself.
- ``joint`` encodes them as one text. A token that spans the join belongs to the continuation, so that the scored tokens
  cover the whole continuation and the model reads exactly one tokenisation.
- ``joint-safe`` is ``joint`` where a token of the one text ends at the join and the continuation has tokens after it,
  and ``separate`` where not: what is scored is the continuation and nothing of the context.

Under none of them is a part ever empty. A continuation that has no tokens of its own (white space, for a tokenizer
that drops it) is the tokenizer's unknown token, where it has none the prefix token; a context without tokens is the
prefix token. The begin token stands once, before the context.

The same file, ``tokenizer.json``, is read by the same code for written requests and for scoring.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from .config import Boundary
from .errors import UserError
from .files import digest_file, read_json

# Names of the usual begin and end tokens, for a tokenizer.json without a tokenizer_config.json beside it.
BEGIN_NAMES = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]")
TOGETHER = 512  # texts that are encoded at a time
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


@dataclass
class Differences:
    """How many requests with a context two policies give other token ids."""

    requests: int = 0
    separate_joint: int = 0
    separate_joint_safe: int = 0
    joint_joint_safe: int = 0

    def add(self, separate: Pair, joint: Pair, safe: Pair) -> None:
        self.requests += 1
        self.separate_joint += separate != joint
        self.separate_joint_safe += separate != safe
        self.joint_joint_safe += joint != safe


class Encoder:
    """A tokenizer with a boundary policy. Use :meth:`load`.

    ``leading`` is put before every context, ``prefix`` stands for an empty one, ``unknown`` for a continuation without
    tokens.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        boundary: Boundary,
        leading: tuple[int, ...],
        prefix: int,
        digest: str,
        unknown: int | None = None,
    ):
        self.tokenizer = tokenizer
        self.boundary = boundary
        self.leading = leading
        self.prefix = prefix
        self.unknown = prefix if unknown is None else unknown
        self.digest = digest
        self.numbers: dict[int, int] = {}  # one object for each id: rows of ids take 8 bytes an id, not 36
        # Some tokenizers (Llama's SentencePiece kind) put a space before every text themselves; with a second one the
        # continuation would begin with a token that never follows a context.
        self.adds_space = "".join(tokenizer.encode("A", add_special_tokens=False).tokens).startswith(SPACE_MARKS)

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
        leading = _leading(tuple(with_specials[: _find(with_specials, body)]), plain, file)
        prefix = leading[0] if leading else _prefix_token(plain, file)
        return cls(plain, boundary, leading, prefix, digest_file(file), _unknown(description, plain))

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    def pair(self, context: str, continuation: str) -> Pair:
        """Ids of ``context`` and ``continuation``; an empty context is the prefix token (BOS, else EOS)."""
        return self.pairs([(context, continuation)])[0]

    def pairs(self, requests: Iterable[tuple[str, str]], differences: Differences | None = None) -> list[Pair]:
        """What ``pair`` says of each (context, continuation), many at a time on all cores; counts ``differences``."""
        found: list[Pair] = []
        rest = iter(requests)
        known: dict[str, tuple[int, ...]] = {}
        while part := list(islice(rest, TOGETHER)):
            spoken = [(context, self._spoken(continuation)) for context, continuation in part]
            texts = dict.fromkeys(text for pair in spoken for text in pair if text not in known)
            encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            known = {text: known[text] for pair in spoken for text in pair if text in known} | {
                text: self._kept(row.ids) for text, row in zip(texts, encoded, strict=True)
            }
            whole: Sequence[Any] = [None] * len(part)
            if differences is not None or self.boundary != "separate":
                whole = self.tokenizer.encode_batch(
                    [context + continuation for context, continuation in part], add_special_tokens=False
                )
            for (context, _), (_, text), one in zip(part, spoken, whole, strict=True):
                separate = self._separate(known[context], known[text])
                if one is None or not context:
                    found.append(separate)
                    continue
                joint, clean = self._joint(one, len(context))
                safe = joint if clean else separate
                if differences is not None:
                    differences.add(separate, joint, safe)
                found.append({"separate": separate, "joint": joint, "joint-safe": safe}[self.boundary])
        return found

    def _spoken(self, continuation: str) -> str:
        """The continuation as it is encoded by itself."""
        doubled = self.adds_space and continuation[:1] == " " and len(continuation) > 1
        return continuation[1:] if doubled else continuation

    def _separate(self, before: tuple[int, ...], after: tuple[int, ...]) -> Pair:
        return self._pair(before, after or (self.unknown,))

    def _joint(self, whole: Any, boundary: int) -> tuple[Pair, bool]:
        """The pair of one text, and whether a token ends at its character ``boundary`` and another follows."""
        ids = self._kept(whole.ids)
        offsets = whole.offsets
        cut = len(ids)
        while cut and offsets[cut - 1][1] > boundary:
            cut -= 1
        pair = self._pair(ids[:cut], ids[cut:] or (self.unknown,))
        return pair, cut < len(ids) and offsets[cut][0] >= boundary and cut > 0

    def _pair(self, before: tuple[int, ...], after: tuple[int, ...]) -> Pair:
        head = (*self.leading, *before) if self.leading else before
        return Pair(head, after, len(self.leading)) if head else Pair((self.prefix,), after, 1)

    def _kept(self, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple([self.numbers.setdefault(number, number) for number in ids])


def _find(whole: list[int], part: list[int]) -> int:
    """Where ``part`` begins in ``whole``; 0 if nowhere."""
    return next((k for k in range(len(whole) - len(part) + 1) if whole[k : k + len(part)] == part), 0)


def _object(file: Path) -> dict[str, Any]:
    """The object in a JSON file beside the tokenizer; empty if there is no file."""
    value = read_json(file) if file.is_file() else {}
    return value if isinstance(value, dict) else {}


def _leading(stated: tuple[int, ...], tokenizer: Tokenizer, file: Path) -> tuple[int, ...]:
    """What stands before every context: as tokenizer.json says, unless what lies beside it knows better.

    ``add_bos_token`` of tokenizer_config.json decides, as in transformers; Gemma's models need their begin token
    whatever the files say.
    """
    settings = _object(file.with_name("tokenizer_config.json"))
    wanted = settings.get("add_bos_token")
    if str(_object(file.with_name("config.json")).get("model_type", "")).startswith("gemma"):
        wanted = True
    begin = _begin_token(tokenizer, settings)
    if wanted is None or begin is None:
        return stated
    rest = stated[1:] if stated[:1] == (begin,) else stated
    return (begin, *rest) if wanted else rest


def _begin_token(tokenizer: Tokenizer, settings: dict[str, Any]) -> int | None:
    token = settings.get("bos_token")
    token = token.get("content") if isinstance(token, dict) else token
    names = (token,) if isinstance(token, str) else BEGIN_NAMES
    found = (tokenizer.token_to_id(name) for name in names)
    return next((int(token_id) for token_id in found if token_id is not None), None)


def _unknown(description: dict[str, Any], tokenizer: Tokenizer) -> int | None:
    """The unknown token of the tokenizer's model, if it has one."""
    model = description.get("model")
    if not isinstance(model, dict):
        return None
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    found = tokenizer.token_to_id(model["unk_token"]) if isinstance(model.get("unk_token"), str) else None
    return None if found is None else int(found)


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
