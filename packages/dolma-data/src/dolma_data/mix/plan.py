"""The plan of ``mix``: which input files make which output file, the same for any number of processes."""

from __future__ import annotations

import fnmatch
import glob
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config.mix import MixConfig, MixStream
from ..documents import ATTRIBUTES, DOCUMENTS, DocumentFile, find_documents
from ..errors import UserError
from ..remote import REMOTE, split_url
from .lint import lint_mix
from .rules import compile_rules

SUFFIX = {"gz": ".gz", "zst": ".zst", "zstd": ".zstd", "": ""}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """An output file of a stream (``name`` relative to the root of the output) and the input files it is made of."""

    stream: int
    name: str
    packing: str
    files: tuple[DocumentFile, ...]
    keep_empty: bool = False


@dataclass
class MixPlan:
    """The work; ``missing`` says which inputs are not there, ``notes`` what the lint found.

    ``config`` has the folders in place of patterns among the attributes.
    """

    config: MixConfig
    units: list[Unit] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_plan(config: MixConfig, dry_run: bool = False) -> MixPlan:
    """Check the configuration against the files and divide the work.

    Raises UserError for what cannot work; with ``dry_run`` inputs that are not there are listed instead.
    """
    if not config.streams:
        raise UserError("no streams are given", where="streams", fix="write them in a file and pass it with -c")
    found = [_find(stream, config.compat) for stream in config.streams]
    streams = [
        replace(stream, attributes=_name_folders(stream.attributes, files))
        for stream, (files, _) in zip(config.streams, found, strict=True)
    ]
    plan = MixPlan(config := replace(config, streams=streams))
    seen = set()
    for number, (stream, (files, missing)) in enumerate(zip(streams, found, strict=True)):
        root = root_of(stream, config.compat)
        if (root, stream.name) in seen:
            raise UserError(f"two streams named {stream.name!r} share one output", fix="name one otherwise")
        seen.add((root, stream.name))
        if not stream.name or "/" in stream.name:
            raise UserError(f"{stream.name!r} cannot begin a file name", where="streams.name", fix="choose another")
        rules = compile_rules(stream, config.compat)
        if missing and not dry_run:
            if config.compat is None or not files:
                raise missing[0]
            for error in missing:
                log.warning("warning: %s", error)
        plan.missing += [str(error) for error in missing]
        for file in files:
            for name in stream.attributes:
                path = file.attributes_path(name)
                if path.is_file() or config.compat == "dolma":
                    continue
                error = UserError(
                    f"{file.path} has no attributes {name!r}", where=path, fix="make them for all documents"
                )
                if not dry_run:
                    raise error
                plan.missing.append(str(error))
        notes = lint_mix(config, stream, rules, files, refuse=not dry_run)
        plan.notes += notes
        for note in notes:
            log.warning("warning: %s", note)
        if files:
            plan.units += _units(config, number, stream, files)
    names = [(root_of(config.streams[unit.stream], config.compat), unit.name) for unit in plan.units]
    for place, (root, name) in enumerate(names):
        if (root, name) in names[:place]:
            raise UserError(f"two inputs would be written to {root / name}", fix="give each its own output.path")
    return plan


def root_of(stream: MixStream, compat: str | None) -> Path:
    """The root of the artifact; Dolma's configurations name its documents folder, or any folder at all."""
    path = Path(stream.output.path)
    return path.parent if path.name == DOCUMENTS and compat is None else path


def _find(stream: MixStream, compat: str | None) -> tuple[list[DocumentFile], list[UserError]]:
    files: list[DocumentFile] = []
    missing = []
    for item in stream.documents:
        if split_url(item) is not None:
            missing.append(UserError(f"{item} {REMOTE}"))
            continue
        try:
            found = find_documents([item])
        except UserError as error:
            missing.append(error)
            continue
        # a file that two patterns name counts once; Dolma takes it twice
        files += found if compat == "dolma" else [file for file in found if file not in files]
    if not stream.documents:
        raise UserError(
            "no documents are given", where=f"stream {stream.name}", fix="name a folder, a file or a pattern"
        )
    return files, missing


def _name_folders(names: Sequence[str], files: Sequence[DocumentFile]) -> tuple[str, ...]:
    """``names`` with the folders beside the documents in place of a pattern that matches any, as in Dolma."""
    found: list[str] = []
    for name in names:
        matches: set[str] = set()
        if glob.has_magic(name):
            roots = {file.root / ATTRIBUTES for file in files}
            folders = {path.name for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir()}
            matches.update(fnmatch.filter(folders, name))
        found += sorted(matches) or [name]
    return tuple(found)


def _units(config: MixConfig, number: int, stream: MixStream, files: Sequence[DocumentFile]) -> list[Unit]:
    dolma = config.compat == "dolma"
    output = stream.compression.output
    folder = "" if dolma else f"{DOCUMENTS}/"
    if config.shuffle is False:
        units = []
        for file in files:
            tree, packing = file.tree, _packing_of(file.tree)
            if output is not None and not (dolma or output == packing):
                tree, packing = tree.removesuffix(SUFFIX.get(packing, "")) + SUFFIX[output], output
            units.append(Unit(number, f"{DOCUMENTS}/{tree}", packing if output is None else output, (file,), True))
        return units
    packing = "gz" if output is None else output
    groups = _group(files, stream)
    units = []
    for shard, group in enumerate(groups):
        kind = ".json" if dolma and shard == len(groups) - 1 else ".jsonl"
        name = f"{folder}{stream.name}-{shard:04d}{kind}{SUFFIX[packing]}"
        units.append(Unit(number, name, packing, tuple(group), dolma))
    return units


def _packing_of(name: str) -> str:
    return next((packing for packing, suffix in SUFFIX.items() if suffix and name.endswith(suffix)), "")


def _group(files: Sequence[DocumentFile], stream: MixStream) -> list[list[DocumentFile]]:
    """Put files together in order, as many as fit into ``max_size_in_bytes``; a file is never divided."""
    groups: list[list[DocumentFile]] = []
    total = 0
    for file in files:
        size = file.path.stat().st_size
        if not groups or total + size > stream.output.max_size_in_bytes:
            groups.append([])
            total = 0
        groups[-1].append(file)
        total += size
    return groups
