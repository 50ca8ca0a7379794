"""Files of prompts: JSON Lines, a prompt and whatever else in each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.model import ModelConfig
from .errors import UserError
from .files import read_lines
from .generate import check_prompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WRITTEN = ("text", "tokens", "sample", "finish_reason")  # keys that a row of results has besides those of its prompt


@dataclass(frozen=True)
class Prompt:
    """Ids to continue, and the row they come from, with ``prompt`` and ``prompt_tokens`` both."""

    ids: tuple[int, ...]
    row: dict[str, Any]


def prompt_of_text(text: str, tokenizer: Tokenizer, config: ModelConfig) -> tuple[int, ...]:
    """Ids of a text; those of an empty one are the end-of-document id, with which a document begins."""
    return tuple(tokenizer.encode(text).ids) or (config.eos_token_id,)


def read_prompts(file: str | Path, tokenizer: Tokenizer, config: ModelConfig) -> list[Prompt]:
    """Every prompt of a JSON Lines file (``.gz`` and ``.zst`` too). A row has ``prompt``, a text, or ``prompt_tokens``,
    a list of ids; its other keys go into the results as they are. The first row that cannot be read is a UserError
    that names its line; empty lines are passed over.
    """
    found = [_prompt(line, number, file, tokenizer, config) for number, line in read_lines(file) if line.strip()]
    if not found:
        raise UserError("the file holds no prompts", where=file, fix='write a row {"prompt": "…"} for each')
    return found


def _prompt(line: bytes, number: int, file: str | Path, tokenizer: Tokenizer, config: ModelConfig) -> Prompt:
    def refuse(what: str, fix: str) -> UserError:
        return UserError(what, where=file, line=number, fix=fix)

    try:
        row = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(f"not a row of JSON: {error}", 'write {"prompt": "…"} on one line') from error
    if not isinstance(row, dict):
        raise refuse("the row is no JSON object", 'write {"prompt": "…"}')
    taken = [key for key in WRITTEN if key in row]
    if taken:
        raise refuse(f"the row has the key {taken[0]}, which the result needs", "give it another name")
    text, ids = row.get("prompt"), row.get("prompt_tokens")
    if (text is None) == (ids is None):
        raise refuse("the row needs either prompt or prompt_tokens", "give one of them")
    if text is not None:
        if not isinstance(text, str) or not _is_unicode(text):
            raise refuse("prompt is no text", "give a string of whole characters")
        numbers = prompt_of_text(text, tokenizer, config)
    else:
        if not isinstance(ids, list) or not all(type(one) is int for one in ids):
            raise refuse("prompt_tokens is no list of whole numbers", "give token ids")
        numbers = tuple(ids)
    check_prompt(numbers, config, str(file), number)
    if text is None:
        text = tokenizer.decode(list(numbers), skip_special_tokens=False)
    return Prompt(numbers, row | {"prompt": text, "prompt_tokens": list(numbers)})


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)
