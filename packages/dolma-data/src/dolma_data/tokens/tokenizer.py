"""Tokenizers: training a byte-level BPE, loading one, finding its special tokens.

Byte-level BPE: Sennrich et al. 2016 over the bytes of Radford et al. 2019, by huggingface/tokenizers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.tokens import TokenizerSettings, TrainTokenizerConfig
from ..documents import DocumentFile, Failure, check_failures, check_so_far, find_documents, is_blank, read_rows
from ..errors import UserError
from ..files import atomic_artifact, atomic_write, digest_file, write_json
from ..progress import Progress
from ..records import recorded

log = logging.getLogger(__name__)

TOKENIZER_FILE = "tokenizer.json"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
ALPHABET = 256  # one id for each byte, so that every text can be written
EOS_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]")
PAD_NAMES = ("<|padding|>", "<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>")
# Where text is cut before merging: words with the space or sign before them, at most three digits, runs of signs, line
# ends with the indentation that follows (code), other white space with its last space left to the next word.
CUT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
    r"|\s*[\r\n]+[ \t]*|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class SpecialIds:
    """What a token corpus needs to know of its tokenizer."""

    vocab_size: int
    eos: int
    pad: int
    bos: int | None = None


def tokenizer_file(name: str | Path) -> Path:
    """The file ``name``, ``tokenizer.json`` in the folder ``name``, or that of OWNER/NAME on the Hugging Face hub.

    The hub is asked, or the copies that were fetched from it before, only where there is no such path. Raises
    UserError where there is none.
    """
    path = Path(name)
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if file.is_file():
        return file
    if not HUB_NAME.fullmatch(str(name)):
        raise UserError("no such tokenizer", where=file, fix="give a tokenizer.json, its folder, or OWNER/NAME")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # of every attempt; what comes of them is told below
    try:
        return Path(hf_hub_download(str(name), TOKENIZER_FILE))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"no such file, and the Hugging Face hub does not give it: {reason}",
            where=name,
            fix="give the path of a tokenizer.json",
        ) from error


def load_tokenizer(file: Path, special_is_text: bool = True) -> Any:
    """Load ``tokenizer.json`` for encoding plain text: nothing cut or filled up, special tokens in text stay text
    unless ``special_is_text`` is false."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more specific
        raise UserError(f"not a tokenizer: {error}", where=file, fix="give a tokenizer.json") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = special_is_text
    return tokenizer


def special_ids(tokenizer: Any, settings: TokenizerSettings, last_is_eos: bool = False) -> SpecialIds:
    """The given ids, or those of well-known names; UserError where neither is there.

    ``last_is_eos`` takes the last id of the vocabulary for the end of text, and for padding.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    size = max(len(vocabulary), max(vocabulary.values()) + 1)
    if last_is_eos:
        return SpecialIds(size, len(vocabulary) - 1, len(vocabulary) - 1)
    found: list[int] = []
    for what, given, names in (("eos", settings.eos_token_id, EOS_NAMES), ("pad", settings.pad_token_id, PAD_NAMES)):
        known = next((vocabulary[name] for name in names if name in vocabulary), found[0] if found else None)
        given = known if given is None else given
        option = f"--tokenizer.{what}-token-id"
        if given is None:
            raise UserError(f"the tokenizer has none of {', '.join(names)}", where=option, fix=f"give {option}")
        _check_id(given, size, option)
        if known is not None and given != known and what == "eos":
            tokens = (given, tokenizer.id_to_token(given), known, tokenizer.id_to_token(known))
            log.warning("tokenizer.eos_token_id is %d, %r; the tokenizer's own end of text is %d, %r", *tokens)
        found.append(given)
    if settings.bos_token_id is not None:
        _check_id(settings.bos_token_id, size, "--tokenizer.bos-token-id")
    return SpecialIds(size, eos=found[0], pad=found[1], bos=settings.bos_token_id)


def _check_id(token: int, size: int, option: str) -> None:
    if not 0 <= token < size:
        raise UserError(f"{token} is no id of the tokenizer, which has {size}", where=option, fix="give another")


def train_tokenizer(config: TrainTokenizerConfig) -> dict[str, Any]:
    """Train a tokenizer with exactly ``vocab_size`` ids and write its folder; returns its manifest.

    The same documents give the same file. Raises UserError where the documents hold too few different pairs to merge.
    """
    smallest = ALPHABET + 2
    if config.vocab_size < smallest:
        raise UserError(
            f"{config.vocab_size} ids are too few: {ALPHABET} bytes and 2 special tokens come first",
            where="--vocab-size",
            fix=f"give {smallest} or more",
        )
    if config.eos_token == config.pad_token:
        raise UserError("--eos-token and --pad-token are the same", fix="give two different ones")
    files = find_documents(config.documents)
    inputs = [file.path for file in files]
    with recorded("dolma-data", "train-tokenizer", folder=config.output, config=config, inputs=inputs) as record:
        texts = _Texts(files, config)
        tokenizer = _train(texts, config)
        check_failures(texts.failures, config.max_failed, config.output)
        size = tokenizer.get_vocab_size()
        if size != config.vocab_size:
            raise UserError(
                f"only {size} ids come out of {texts.documents} documents ({texts.text_bytes} bytes)",
                where="--vocab-size",
                fix=f"give more text or --vocab-size {size}",
            )
        with atomic_artifact(config.output, "tokenizer") as folder:
            with atomic_write(folder / TOKENIZER_FILE) as stream:
                stream.write(tokenizer.to_str(pretty=True).encode())
            manifest = {
                "artifact": "tokenizer",
                "format_version": 1,
                "vocab_size": size,
                "eos_token": config.eos_token,
                "eos_token_id": tokenizer.token_to_id(config.eos_token),
                "pad_token": config.pad_token,
                "pad_token_id": tokenizer.token_to_id(config.pad_token),
                "digest": digest_file(folder / TOKENIZER_FILE),
                "documents": texts.documents,
                "text_bytes": texts.text_bytes,
            }
            write_json(folder / "tokenizer_config.json", _transformers_config(config))
            write_json(folder / "manifest.json", manifest)
        record.outputs.append(config.output / TOKENIZER_FILE)
        record.counts.update(read=texts.read, kept=texts.documents, failed=len(texts.failures))
    log.info("train-tokenizer: %d ids from %d documents", size, texts.documents)
    return manifest


class _Texts:
    """The texts of document files, counted while they are read."""

    def __init__(self, files: Sequence[DocumentFile], config: TrainTokenizerConfig) -> None:
        self.files = files
        self.config = config
        self.read = self.documents = self.text_bytes = 0
        self.failures: list[Failure] = []

    def __iter__(self) -> Iterator[str]:
        with Progress("train-tokenizer") as progress:
            for file in self.files:
                for row in read_rows(file.path):
                    self.read += 1
                    progress.advance()
                    if row.document is None:
                        self.failures.append(Failure(str(file.path), row.line, row.reason or ""))
                        check_so_far(self.failures, self.config.max_failed, self.config.output)
                    elif not is_blank(row.document["text"]):
                        self.documents += 1
                        self.text_bytes += len(row.document["text"].encode())
                        yield row.document["text"]


def _train(texts: _Texts, config: TrainTokenizerConfig) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[config.eos_token, config.pad_token],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _transformers_config(config: TrainTokenizerConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": config.eos_token,
        "pad_token": config.pad_token,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
    }
