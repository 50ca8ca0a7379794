"""``dolma-data tokens``: documents in a seeded order as raw token ids, as Dolma writes and OLMo reads them.

Two passes: :mod:`units` encodes the documents into scratch files, which outlive an interrupted run; :mod:`parts` puts
them in the order of the shuffle. The order depends on the seed and the documents' places alone, memory on neither the
number of documents nor their length.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.tokens import TokenizerSettings, TokensConfig
from ..documents import (
    QUARANTINE,
    DocumentFile,
    Failure,
    check_failures,
    check_so_far,
    common_root,
    find_documents,
    most_failures,
    write_quarantine,
)
from ..errors import UserError
from ..execute import map_ordered
from ..files import PARTIAL, atomic_artifact, check_replaceable, digest_file, write_json, writing
from ..locking import locked
from ..progress import Progress
from ..records import recorded
from ..remote import shown
from ..resuming import open_scratch
from .tokenizer import TOKENIZER_FILE, SpecialIds, load_tokenizer, special_ids, tokenizer_file

if TYPE_CHECKING:
    from .byte_pairs import Tables
    from .units import Encoded, Unit, Work

log = logging.getLogger(__name__)

ARTIFACT = "tokens"
SCRATCH_VERSION = 3  # of the scratch files and of how units are cut; another one's are not used
SMALL_VOCABULARY = 1 << 16  # ids that fit into uint16
SMALL_CORPUS = 1 << 20  # bytes on disk that are not worth a second process


def tokens(config: TokensConfig) -> dict[str, Any]:
    """Write the tokens artifact; returns its manifest.

    Raises UserError for a tokenizer that cannot be used, a ``dtype`` that is not the vocabulary's, no document at all
    and more than ``max_failed`` unreadable ones.
    """
    from .parts import RANGE_DOCUMENTS, order_documents, write_parts
    from .pieces import Merge
    from .units import Work

    tokenizer_path, special, dtype = check(config)
    check_replaceable(config.destination, ARTIFACT)
    files = find_documents(config.documents)
    inputs = [tokenizer_path, *(file.path for file in files)]
    processes = (
        1 if config.debug or sum(file.path.stat().st_size for file in files) < SMALL_CORPUS else config.processes
    )
    scratch = (config.work_dir.output or config.destination.parent) / f"{config.destination.name}.progress{PARTIAL}"
    with (
        recorded(
            "dolma-data", "tokens", folder=config.destination, config=config, inputs=inputs, seed=config.seed
        ) as record,
        locked(scratch),
    ):
        with ThreadPoolExecutor(processes) as threads:  # digesting lets go of the interpreter
            digests = (threads.map if processes > 1 else map)(digest_file, inputs)
            tables = _compile(tokenizer_path, _special_is_text(config))
            record.digests.update(zip(map(str, inputs), digests, strict=True))
        open_scratch(scratch, state_of(config, files, tokenizer_path, special, dtype, record.digests))
        tables_path = None if tables is None else scratch / "tables.npz"
        if tables is not None and tables_path is not None:
            tables.save(tables_path)
        work = Work(
            tokenizer=tokenizer_path,
            tokenizer_digest=record.digests[str(tokenizer_path)],
            tables=tables_path,
            special=special,
            dtype=dtype,
            seed=config.seed,
            fields=config.fields,
            segment=tokenizer_settings(config).segment_before_tokenization,
            strip=config.compat is not None,
            special_is_text=_special_is_text(config),
            names=tuple(shown(str(file.path)) for file in files),
            scratch=scratch,
        )
        encoded = _encode_all(files, work, processes, config)
        failures = _failures(encoded)
        check_failures(failures, config.max_failed, config.destination)
        counts = {
            "read": sum(unit.read for unit in encoded),
            "kept": sum(unit.kept for unit in encoded),
            "dropped": sum(unit.read - unit.kept - len(unit.failures) for unit in encoded),
            "failed": len(failures),
        }
        if not counts["kept"]:
            shutil.rmtree(scratch)
            raise UserError("no document has any text", where=", ".join(config.documents), fix="check the input")
        with atomic_artifact(config.destination, ARTIFACT) as folder:
            if failures:
                write_quarantine(folder / QUARANTINE, failures)
            root = common_root(files)
            merge = Merge(
                scratch=scratch,
                units=tuple(unit.number for unit in encoded if unit.kept),
                ranges=-(-counts["kept"] // RANGE_DOCUMENTS),
                dtype=dtype,
                names=tuple(file.path.absolute().relative_to(root).as_posix() for file in files),
                folder=folder,
            )
            order_documents(merge, processes)
            parts = write_parts(merge, sum(unit.tokens for unit in encoded), config.max_size, processes)
            with writing(folder / TOKENIZER_FILE):
                shutil.copyfile(tokenizer_path, folder / TOKENIZER_FILE)
            manifest = {
                "artifact": ARTIFACT,
                "format_version": 1,
                "dtype": dtype,
                "vocab_size": special.vocab_size,
                "eos_token_id": special.eos,
                "pad_token_id": special.pad,
                "bos_token_id": special.bos,
                "max_token_id": parts.largest,
                "tokenizer_digest": record.digests[str(tokenizer_path)],
                "files": parts.files,
                "tokens": sum(file["tokens"] for file in parts.files),
                "documents": counts["kept"],
                "counts": counts,
                "fingerprint": parts.fingerprint(),
            }
            if config.compat is not None:
                manifest["compat"] = config.compat
            if tokenizer_settings(config).segment_before_tokenization:
                manifest["segment_before_tokenization"] = True
            if (config.fields.text_field_name, config.fields.id_field_name) != ("text", "id"):
                manifest["fields"] = {"text": config.fields.text_field_name, "id": config.fields.id_field_name}
            write_json(folder / "manifest.json", manifest)
        shutil.rmtree(scratch)
        record.outputs.append(config.destination)
        record.digests.update(parts.digests_in(config.destination))
        record.counts.update(counts, tokens=manifest["tokens"])
    log.info(
        "tokens: %d tokens of %d documents in %d files; %d dropped, %d failed",
        manifest["tokens"],
        counts["kept"],
        len(parts.files),
        counts["dropped"],
        counts["failed"],
    )
    return manifest


def tokenizer_settings(config: TokensConfig) -> TokenizerSettings:
    """The settings of the tokenizer, in whichever spelling; UserError where there are none or two."""
    old = config.tokenizer_name_or_path
    if (config.tokenizer is None) == (old is None):
        raise UserError(
            "no tokenizer is given" if old is None else "the tokenizer is given twice",
            where="--tokenizer.name-or-path",
            fix="give it" if old is None else "leave --tokenizer-name-or-path out",
        )
    return config.tokenizer or TokenizerSettings(name_or_path=str(old))


def plan(config: TokensConfig, inputs: dict[str, list[str]]) -> dict[str, Any]:
    """``inputs``, which names files and what is missing, and what is known of the tokenizer, missing too if it is."""
    try:
        tokenizer_file(tokenizer_settings(config).name_or_path)
    except UserError as error:
        return inputs | {"missing": [*inputs["missing"], str(error)]}
    _, special, dtype = check(config)
    return inputs | {"dtype": dtype, "eos_token_id": special.eos, "pad_token_id": special.pad}


def check(config: TokensConfig) -> tuple[Path, SpecialIds, str]:
    """The tokenizer's file, its special ids and the type of the ids; UserError where they do not go together."""
    settings = tokenizer_settings(config)
    path = tokenizer_file(settings.name_or_path)
    special = special_ids(load_tokenizer(path), settings, last_is_eos=config.tokenizer is None)
    dtype = "uint16" if special.vocab_size <= SMALL_VOCABULARY else "uint32"
    if config.dtype not in (None, dtype):
        raise UserError(
            f"dtype {config.dtype} does not go with a vocabulary of {special.vocab_size} ids",
            where="--dtype",
            fix=f"leave it out or give {dtype}",
        )
    if config.max_size < 1:
        raise UserError(f"max_size is {config.max_size}", where="--max-size", fix="give 1 or more tokens")
    names = (config.fields.text_field_name, config.fields.id_field_name or "")
    if any(f"{longer}.".startswith(f"{shorter}.") for longer, shorter in (names, names[::-1])):
        raise UserError("text and id are the same field, or one in the other", where="--fields", fix="give two fields")
    if settings.encode_special_tokens is False and config.compat is None:
        log.warning(
            "tokenizer.encode_special_tokens is false, but text that spells a special token stays text; "
            "--compat dolma makes it the token"
        )
    return path, special, dtype


def state_of(
    config: TokensConfig,
    files: Sequence[DocumentFile],
    tokenizer: Path,
    special: SpecialIds,
    dtype: str,
    digests: Mapping[str, str],
) -> dict[str, Any]:
    """What the scratch files depend on: inputs, of these ``digests``, and settings."""
    return {
        "version": SCRATCH_VERSION,
        "inputs": [[str(file.path), digests[str(file.path)]] for file in files],
        "tokenizer": digests[str(tokenizer)],
        "special": [special.bos, special.eos],
        "settings": [config.seed, dtype, config.compat, tokenizer_settings(config), config.fields],
    }


def _encode_all(files: Sequence[DocumentFile], work: Work, processes: int, config: TokensConfig) -> list[Encoded]:
    """Encode what no interrupted run has; returns what became of every unit, in order.

    UserError as soon as far more documents have failed than may.
    """
    from .units import encode_unit, finished_unit, read_units, unit_bytes

    encoded: dict[int, Encoded] = {}

    def unfinished() -> Iterator[Unit]:
        for unit in read_units(files, unit_bytes(files)):
            found = finished_unit(work.scratch, unit.number)
            if found is None:
                yield unit
            else:
                encoded[unit.number] = found

    failed = 0
    with Progress("tokens", unit="bytes of lines") as progress:
        for result in map_ordered(partial(encode_unit, work=work), unfinished(), processes):
            encoded[result.number] = result
            progress.advance(result.text_bytes)
            failed += len(result.failures)
            if failed > most_failures(config.max_failed):
                check_so_far(_failures(_in_order(encoded)), config.max_failed, config.destination)
    return _in_order(encoded)


def _in_order(encoded: Mapping[int, Encoded]) -> list[Encoded]:
    return [encoded[number] for number in sorted(encoded)]


def _failures(encoded: Sequence[Encoded]) -> list[Failure]:
    return [failure for unit in encoded for failure in unit.failures]


def _special_is_text(config: TokensConfig) -> bool:
    return config.compat is None or bool(tokenizer_settings(config).encode_special_tokens)


def _compile(tokenizer: Path, special_is_text: bool) -> Tables | None:
    """Tables of the encoder for all processes; None where only the library can encode with the tokenizer."""
    from .byte_pairs import UnsupportedTokenizerError, compile_tables

    try:
        return compile_tables(tokenizer, load_tokenizer(tokenizer, special_is_text))
    except UnsupportedTokenizerError as reason:
        log.warning("the tokenizers library encodes, several times slower: the tokenizer has %s", reason)
        return None
