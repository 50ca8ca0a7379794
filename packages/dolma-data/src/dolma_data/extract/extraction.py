"""``dolma-data extract``: documents out of text, Markdown, JSON Lines, HTML, web archives and Python itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..config.extract import ExtractConfig
from ..documents import (
    DOCUMENTS,
    Shard,
    check_so_far,
    documents_artifact,
    is_blank,
    most_failures,
    refuse_own_input,
)
from ..errors import UserError
from ..execute import map_ordered
from ..progress import Progress
from ..records import recorded
from ..shard_writing import BlockWriter, PackedBlock, ShardWriter
from .files import InputFile, Raw, find_input_files, make_record, read_raw, size_of_raw
from .identity import key_of, settle_ids
from .python import (
    BUILT_IN,
    TOPICS,
    TOPICS_FILE,
    Module,
    built_in_docstrings,
    built_in_modules,
    docstrings,
    find_modules,
    library,
    only_packages,
    read_source,
    topics,
)
from .spread import cut, run_units

log = logging.getLogger(__name__)

PYTHON_DOCS = "python-docs"
DOCS_SOURCE, CODE_SOURCE = "python_docs", "python_code"
UNIT_BYTES = 32 << 20  # of input that a unit of work takes, about
UNIT_FILES = 5000
PYTHON_UNIT_BYTES = 4 << 20
FILE_TEXT_BYTES = 256 << 20  # of text that an output file holds, about
Item = TypeVar("Item")


@dataclass(frozen=True)
class Unit:
    """What a worker does at a time; ``number`` names its output files."""

    number: int
    size: int  # bytes of input
    files: tuple[InputFile, ...] = ()
    modules: tuple[Module, ...] = ()
    with_topics: bool = False


def extract(paths: Sequence[str], config: ExtractConfig) -> dict[str, int]:
    """Write the documents found in ``paths`` (or, for ``["python-docs"]``, in the installed Python) to an artifact.

    Returns the counts. Raises UserError for inputs that cannot be read, for nothing to read at all, for more than
    ``max_failed`` bad records and, unless ``repeated_ids`` says otherwise, for two documents of one source with the
    same id.
    """
    units = plan(paths, config)
    refuse_own_input(config.output, (Path(path) for path in paths))
    inputs = [] if list(paths) == [PYTHON_DOCS] else paths
    with recorded("dolma-data", "extract", folder=config.output, config=config, inputs=inputs) as record:
        with documents_artifact(config.output, config.max_failed) as artifact, Progress("extract") as progress:
            most = most_failures(config.max_failed)
            work = partial(_write_unit, folder=artifact.folder, text_field=config.text_field, most_failed=most)
            keys, failed = [], 0
            for shards, unit_keys in run_units(work, units, [unit.size for unit in units], config.processes):
                keys.append(unit_keys)
                for shard in shards:
                    artifact.add(shard)
                    progress.advance(shard.read)
                    failed += len(shard.failures)
                if failed > most:
                    check_so_far(artifact.failures(), config.max_failed, config.output)
            counts = artifact.counts()
            if not counts["read"]:
                raise UserError("nothing to read: every input is empty", where=", ".join(paths), fix="check the paths")
            settle_ids(artifact, b"".join(keys), config.repeated_ids)
            for reason, number in sorted(artifact.dropped().items()):
                log.info("dropped: %d, %s", number, reason)
        record.outputs.append(config.output / DOCUMENTS)
        record.counts.update(counts)
    log.info("extract: %(read)d read, %(kept)d kept, %(dropped)d dropped, %(failed)d failed", counts)
    return counts


def plan(paths: Sequence[str], config: ExtractConfig) -> list[Unit]:
    """Divide the inputs into units of work, the same for any number of processes."""
    if PYTHON_DOCS in paths:
        if len(paths) > 1 or config.source is not None or config.text_field != "text":
            raise UserError(f"{PYTHON_DOCS} goes with no path, --source or --text-field", fix="extract them apart")
        return _plan_python(config)
    if config.include_tests or config.packages:
        raise UserError(f"--include-tests and --packages belong to {PYTHON_DOCS}", fix="leave them out")
    if not paths:
        raise UserError("no path is given", fix=f"name files or folders, or {PYTHON_DOCS}")
    files: dict[Path, InputFile] = {}
    for path in paths:
        for file in find_input_files(Path(path), config.source):
            files.setdefault(file.path.absolute(), file)
    groups = _group([(file, file.path.stat().st_size) for file in files.values()], UNIT_BYTES)
    return [Unit(number, size, files=tuple(group)) for number, (group, size) in enumerate(groups)]


def _plan_python(config: ExtractConfig) -> list[Unit]:
    root = library()
    modules = find_modules(root, include_tests=config.include_tests)
    built_in = built_in_modules()
    packages = [name for item in config.packages for name in item.split(",") if name]
    with_topics = not packages or TOPICS in packages
    if packages:
        chosen = frozenset(only_packages([*modules, *built_in], packages))
        modules = [module for module in modules if module in chosen]
        built_in = [module for module in built_in if module in chosen]
    groups = _group([(module, (root / module.file).stat().st_size) for module in modules], PYTHON_UNIT_BYTES)
    units = [Unit(number, size, modules=tuple(group)) for number, (group, size) in enumerate(groups)]
    if built_in or with_topics:
        units.append(Unit(len(units), 0, modules=tuple(built_in), with_topics=with_topics))
    return units


def _group(items: Sequence[tuple[Item, int]], limit: int) -> list[tuple[list[Item], int]]:
    """Cut ``(item, size)`` in order into groups, each with its size, that stop growing at ``limit``."""
    groups: list[list[Item]] = []
    sizes: list[int] = []
    for item, size in items:
        if not groups or sizes[-1] >= limit or len(groups[-1]) >= UNIT_FILES:
            groups.append([])
            sizes.append(0)
        groups[-1].append(item)
        sizes[-1] += size
    return list(zip(groups, sizes, strict=True))


class _Writer:
    """A :class:`ShardWriter` that remembers eight bytes of each document's source and id."""

    def __init__(self, writer: ShardWriter) -> None:
        self.writer = writer
        self.keys = bytearray()

    def keep(self, document: dict[str, Any]) -> None:
        self.writer.keep(document)
        self.keys += key_of(document["source"], document["id"])


def _write_unit(
    unit: Unit, folder: Path, text_field: str, most_failed: int, processes: int
) -> tuple[list[Shard], bytes]:
    if unit.files:
        return _write_files(unit, folder, text_field, most_failed, processes)
    with ExitStack() as stack:
        docs, code = (
            _Writer(stack.enter_context(ShardWriter(folder, partial(_file_name, f"{source}/{source}", unit.number))))
            for source in (DOCS_SOURCE, CODE_SOURCE)
        )
        if unit.with_topics:
            for name, text in topics().items():
                docs.keep(_python_document(DOCS_SOURCE, Module(name, TOPICS, TOPICS_FILE), "topic", text))
        for module in unit.modules:
            if module.file == BUILT_IN:
                _write_docstrings(docs, module, built_in_docstrings(module.name))
            else:
                _write_module(docs, code, module)
    return [docs.writer.shard, code.writer.shard], bytes(docs.keys + code.keys)


def _file_name(stem: str, unit: int, part: int) -> str:
    return f"{DOCUMENTS}/{stem}-{unit:04d}-{part:02d}.jsonl.gz"


def _write_files(
    unit: Unit, folder: Path, text_field: str, most_failed: int, processes: int
) -> tuple[list[Shard], bytes]:
    """Write the documents of some files; with more than ``most_failed`` failures the rest is not read."""
    keys = bytearray()
    raw = ((file, raw) for file in unit.files for raw in read_raw(file))
    pieces = cut(raw, lambda item: size_of_raw(*item))
    with ShardWriter(folder, partial(_file_name, "part", unit.number), FILE_TEXT_BYTES) as writer:
        for block, block_keys in map_ordered(partial(_make_block, text_field), pieces, processes):
            writer.append(block)
            keys += block_keys
            if len(writer.shard.failures) > most_failed:
                break
    return [writer.shard], bytes(keys)


def _make_block(text_field: str, piece: Sequence[tuple[InputFile, Raw]]) -> tuple[PackedBlock, bytes]:
    writer = BlockWriter()
    keys = b"".join([_take(writer, text_field, file, raw) for file, raw in piece])
    return writer.block(), keys


def _take(writer: BlockWriter, text_field: str, file: InputFile, raw: Raw) -> bytes:
    """Have ``writer`` take what becomes of a raw record; returns the key of its document, where there is one."""
    record = make_record(file, raw, text_field)
    if record.document is not None:
        refused = writer.keep(record.document)
        if refused is None:
            return key_of(record.document["source"], record.document["id"])
        writer.fail(file.path, record.line, refused)
    elif record.dropped is not None:
        writer.drop(record.dropped)
    else:
        writer.fail(file.path, record.line, record.failed or "")
    return b""


def _write_module(docs: _Writer, code: _Writer, module: Module) -> None:
    try:
        source = read_source(library() / module.file)
    except (SyntaxError, UnicodeDecodeError) as error:
        for writer in (docs, code):
            writer.writer.fail(module.file, getattr(error, "lineno", None) or 1, f"not readable: {error}")
        return
    try:
        _write_docstrings(docs, module, docstrings(source, module.name))
    except (SyntaxError, ValueError) as error:
        docs.writer.fail(module.file, getattr(error, "lineno", None) or 1, f"not of this Python: {error}")
    if module.file == TOPICS_FILE:
        code.writer.drop("taken as documentation topics")
    elif is_blank(source):
        code.writer.drop("blank text")
    else:
        code.keep(_python_document(CODE_SOURCE, module, "source", source))


def _write_docstrings(docs: _Writer, module: Module, text: str) -> None:
    if is_blank(text):
        docs.writer.drop("no docstring")
    else:
        docs.keep(_python_document(DOCS_SOURCE, module, "docstring", text))


def _python_document(source: str, module: Module, kind: str, text: str) -> dict[str, Any]:
    place = module.file.removesuffix(".py")
    if kind == "topic" or module.file == BUILT_IN:
        place = f"{TOPICS if kind == 'topic' else BUILT_IN}/{module.name}"
    return {
        "id": f"{source}/{place}",
        "text": text,
        "source": source,
        "metadata": {"file": module.file, "module": module.name, "package": module.package, "kind": kind},
    }
