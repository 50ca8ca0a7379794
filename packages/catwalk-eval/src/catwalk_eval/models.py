"""What the folder of a model states, before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .files import read_json
from .model_weights import stated_dtype, weight_files, weights_digest

# the names that transformers' configurations use for the longest input
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length")
UNSTATED_LENGTH = 2048  # input length of models whose configuration states none


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder states, without loading its weights."""

    path: Path
    digest: str
    maximum_length: int
    tokenizer: Path
    dtype: str
    """Of the checkpoint, as its configuration states it."""


def look_at(path: Path) -> ModelFolder:
    """Check that ``path`` holds what is needed; what is missing is a UserError that names the file."""
    weight_files(path)
    if not (path / "tokenizer.json").is_file():
        raise UserError(
            "the model folder has no tokenizer.json",
            where=path / "tokenizer.json",
            fix="put it there; transformers writes it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise UserError("no JSON object", where=path / "config.json", fix="use the one that belongs to the model")
    text = config.get("text_config")  # models of several kinds of input state their language model there
    config = config | text if isinstance(text, dict) else config
    key = next((key for key in LENGTH_KEYS if config.get(key)), None)
    stated = UNSTATED_LENGTH if key is None else config[key]
    if type(stated) is not int or stated < 1:
        raise UserError(f"{key} is {stated!r}", where=path / "config.json", fix="use the one that belongs to the model")
    return ModelFolder(path, weights_digest(path), stated, path / "tokenizer.json", stated_dtype(config))
