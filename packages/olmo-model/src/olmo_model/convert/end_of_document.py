"""The trap of ids 0 and 50279.

Two tokenizers of OLMo v1 (``allenai_eleuther-ai-gpt-neox-20b-pii-special.json`` and
``allenai_gpt-neox-olmo-dolma-v1_5.json`` of allenai/OLMo) are the same but for these two ids: ``<|endoftext|>`` is 0 in
one and 50279 in the other, where ``|||IP_ADDRESS|||`` takes the place left. Some configurations of models trained with
the second say 0, and some name the first tokenizer. Such a model never ends a document, or its end reads as an address.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ..config.model import ModelConfig
from ..files import read_json
from ..tokens import load_tokenizer

END, ADDRESS = "<|endoftext|>", "|||IP_ADDRESS|||"
OLD, RIGHT = 0, 50279
VOCABULARY, ROWS = 50280, 50304
WHY = f"two tokenizers of OLMo v1 swap the ids {OLD} and {RIGHT}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mended:
    """The configuration to write, a new ``tokenizer.json`` where it is changed, and what to tell the user."""

    config: ModelConfig
    tokenizer: bytes | None = None
    note: str | None = None


def mend(config: ModelConfig, tokenizer: Path | None, *, keep: bool) -> Mended:
    """Recognise the trap. With ``keep`` it is told and nothing changed."""
    end = load_tokenizer(tokenizer).token_to_id(END) if tokenizer else None
    is_neox = config.embedding_size == ROWS and config.vocab_size in (VOCABULARY, ROWS)
    if config.eos_token_id == OLD and (end == RIGHT or (tokenizer is None and is_neox)):
        wrong = f"eos_token_id is {OLD}, but documents of this vocabulary end in {RIGHT} ({WHY})"
        if keep:
            return Mended(config=config, note=f"{wrong}; kept as you wish")
        return Mended(
            config=dataclasses.replace(config, eos_token_id=RIGHT),
            note=f"{wrong}; {RIGHT} is written (--keep-eos writes {OLD})",
        )
    if config.eos_token_id == RIGHT and end == OLD and tokenizer is not None:
        wrong = f"the tokenizer ends documents in {OLD}, the model in {RIGHT} ({WHY})"
        if keep:
            return Mended(config=config, note=f"{wrong}; kept as you wish")
        return Mended(
            config=config,
            tokenizer=swapped(tokenizer),
            note=f"{wrong}; the tokenizer is written with the two swapped (--keep-eos leaves it)",
        )
    return Mended(config=config)


def swapped(tokenizer: Path) -> bytes:
    """The ``tokenizer.json`` with the two tokens in each other's place; every added token stands in the vocabulary."""
    values = read_json(tokenizer)
    other = {OLD: RIGHT, RIGHT: OLD}
    added = [token | {"id": other.get(token["id"], token["id"])} for token in values["added_tokens"]]
    values["added_tokens"] = sorted(added, key=lambda token: token["id"])
    vocabulary = {text: number for text, number in values["model"]["vocab"].items() if number not in other}
    vocabulary |= {token["content"]: token["id"] for token in added}
    values["model"]["vocab"] = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    return json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n"
