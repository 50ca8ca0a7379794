"""``dolma-data warc``: documents out of web archives, scored by taggers before and after the text is taken."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..config.tag import TagConfig
from ..config.warc import WarcConfig, WarcTaggers
from ..documents import (
    DOCUMENTS,
    DocumentsArtifact,
    Shard,
    documents_artifact,
    is_blank,
    refuse_own_input,
)
from ..errors import UserError
from ..execute import map_ordered
from ..progress import Progress
from ..records import recorded
from ..shard_writing import BlockWriter, PackedBlock, ShardWriter
from ..tag import TagPlan, attributes_of, make_plan
from .files import InputFile, find_input_files
from .linearizers import linearizer, normalise_address
from .spread import cut, run_units
from .web import WebRecord, read_captures, with_text

ARCHIVES = "archive"
VERSION = "v0"  # of the documents
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """One archive: where its documents go (``name`` is relative to ``root``)."""

    file: Path
    root: Path
    name: str


@dataclass(frozen=True)
class Taggers:
    """What scores pages, None where nothing does; ``skip`` leaves out those without any span."""

    plan: TagPlan | None
    skip: bool

    def attributes(self, documents: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any] | str]:
        """Spans by key, or why a page has too many of them."""
        if self.plan is None:
            return [{} for _ in documents]
        return attributes_of(self.plan, documents)


@dataclass(frozen=True)
class Work:
    """What the workers need to know."""

    source: str
    linearizer: str
    before: Taggers
    after: Taggers
    store_page: bool
    dolma: bool


def warc(config: WarcConfig) -> dict[str, dict[str, int]]:
    """Extract documents; returns the counts of each output folder.

    Raises UserError for archives that are not there, for settings that cannot work and for more than ``max_failed``
    bad records.
    """
    units = plan(config)
    work = make_work(config)
    counts = {}
    for root in dict.fromkeys(unit.root for unit in units):
        own = [unit for unit in units if unit.root == root]
        refuse_own_input(root, (unit.file for unit in own))
        inputs = [unit.file for unit in own]
        beside = root.with_name(root.name + ".warc") if work.dolma else root
        with (
            recorded("dolma-data", "warc", folder=beside, config=config, inputs=inputs) as record,
            _output(root, config) as artifact,
            Progress("warc", len(own), "archives") as progress,
        ):
            extract = partial(extract_unit, work=work, folder=artifact.folder)
            sizes = [unit.file.stat().st_size for unit in own]
            for shard in run_units(extract, own, sizes, 1 if config.debug else config.processes):
                artifact.add(shard)
                progress.advance()
            total = artifact.counts()
            for reason, number in sorted(artifact.dropped().items()):
                log.info("dropped: %d, %s", number, reason)
            record.outputs += [root / unit.name for unit in own] if work.dolma else [root / DOCUMENTS]
            record.counts.update(total)
        counts[str(root)] = total
        log.info("warc: %(read)d read, %(kept)d kept, %(dropped)d dropped, %(failed)d failed", total)
    return counts


@contextmanager
def _output(root: Path, config: WarcConfig) -> Iterator[DocumentsArtifact]:
    """The artifact to write, or with ``compat`` a folder in which files stand as allenai/dolma puts them."""
    if config.compat == "dolma":
        yield DocumentsArtifact(root)
        return
    with documents_artifact(root, config.max_failed) as artifact:
        yield artifact


def plan(config: WarcConfig) -> list[Unit]:
    """The archives and where their documents go; UserError for what is not there.

    Archives whose documents would go to one name (``x.warc`` beside ``x.warc.gz``) keep their whole names in it.
    """
    if not config.destination:
        raise UserError("no destination is given", where="destination", fix="name a folder")
    if len(config.destination) not in (1, len(config.documents)):
        raise UserError(
            f"{len(config.destination)} destinations for {len(config.documents)} documents",
            where="destination",
            fix="give one, or one for each of documents",
        )
    found: list[tuple[Path, InputFile]] = []
    for number, item in enumerate(config.documents):
        destination = Path(config.destination[number if len(config.destination) > 1 else 0])
        root = destination.parent if destination.name == DOCUMENTS and config.compat is None else destination
        found += [(root, file) for file in find_archives(item)]
    folder = "" if config.compat == "dolma" else f"{DOCUMENTS}/"
    archives = {(root, output_name(file.name), file.path.absolute()) for root, file in found}
    names = Counter((root, name) for root, name, _ in archives)
    units: list[Unit] = []
    taken: dict[Path, Path] = {}
    for root, file in found:
        short = output_name(file.name)
        whole = names[root, short] > 1 and config.compat is None  # x.warc beside x.warc.gz
        name = folder + (f"{file.name}.jsonl.gz" if whole else short)
        other = taken.setdefault(root / name, file.path)
        if other.absolute() != file.path.absolute():
            raise UserError(f"{other} and {file.path} would both be written to {name}", fix="rename one of them")
        unit = Unit(file.path, root, name)
        if unit not in units:
            units.append(unit)
    if not units:
        raise UserError("no archives are given", where="documents", fix="name files, folders or patterns")
    return units


def find_archives(item: str) -> list[InputFile]:
    """The archives of a path or pattern, by names relative to its folder."""
    import glob

    if not glob.has_magic(item):
        return [file for file in find_input_files(Path(item), None) if file.kind == ARCHIVES]
    fixed = Path(*(part for part in _before_magic(Path(item).parts)))
    files = []
    for match in sorted(glob.glob(item, recursive=True)):  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if Path(match).is_file():
            name = Path(match).relative_to(fixed).as_posix()
            files += [replace(file, name=name) for file in find_input_files(Path(match), None)]
    if not files:
        raise UserError("no archive matches", where=item, fix="check the pattern")
    return [file for file in files if file.kind == ARCHIVES]


def _before_magic(parts: Sequence[str]) -> Iterator[str]:
    import glob

    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def output_name(archive: str) -> str:
    """``a.warc.gz`` gives ``a.jsonl.gz``, ``a.warc.wet.gz`` gives ``a.wet.jsonl.gz``."""
    folder, _, name = archive.rpartition("/")
    base, point, suffixes = name.partition(".")
    kept = f"{point}{suffixes}.".replace(".gz.", ".").replace(".zst.", ".").replace(".warc.", ".").rstrip(".")
    return f"{folder}/{base}{kept}.jsonl.gz" if folder else f"{base}{kept}.jsonl.gz"


def make_work(config: WarcConfig) -> Work:
    """Check names of taggers and their options."""
    return Work(
        source=config.source_name,
        linearizer=config.linearizer,
        before=_taggers(config, config.pre, "pre"),
        after=_taggers(config, config.post, "post"),
        store_page=config.store_html_in_metadata,
        dolma=config.compat == "dolma",
    )


def _taggers(config: WarcConfig, chosen: WarcTaggers, where: str) -> Taggers:
    if not chosen.taggers:
        if chosen.skip:
            raise UserError(f"{where}.skip without taggers leaves out every document", fix=f"give {where}.taggers")
        return Taggers(None, skip=False)
    others = {*config.pre.taggers, *config.post.taggers} - {*chosen.taggers}
    settings = TagConfig(
        documents=config.documents,
        taggers=chosen.taggers,
        tagger_modules=config.tagger_modules,
        resources={name: files for name, files in config.resources.items() if name not in others},
        seed=config.seed,
        compat=config.compat,
    )
    return Taggers(make_plan(settings), chosen.skip)


def extract_unit(unit: Unit, work: Work, folder: Path, processes: int) -> Shard:
    """Write the documents of one archive."""
    pieces = cut(_with_info(unit.file, work.dolma), lambda item: len(item[0].page or item[0].text))
    with ShardWriter(folder, lambda part: unit.name) as writer:
        for block in map_ordered(partial(_make_block, work, unit), pieces, processes):
            writer.append(block)
    return writer.shard


def _with_info(archive: Path, any_type: bool) -> Iterator[tuple[WebRecord, dict[str, Any]]]:
    """The records, each with what the ``warcinfo`` record before it states."""
    info: dict[str, Any] = {}
    for record in read_captures(archive, any_type=any_type):
        if record.dropped == "a warcinfo record":
            info = record.metadata
        yield record, info


def _make_block(work: Work, unit: Unit, piece: Sequence[tuple[WebRecord, dict[str, Any]]]) -> PackedBlock:
    writer = BlockWriter()
    pages: list[tuple[WebRecord, dict[str, Any]]] = []
    for record, info in piece:
        if record.failed is not None:
            writer.fail(unit.file, record.number, record.failed)
        elif record.dropped is not None:
            writer.drop(record.dropped)
        else:
            pages.append((record, make_document(work, unit, record, info)))
    _write_pages(work, unit, pages, writer)
    return writer.block()


def make_document(work: Work, unit: Unit, record: WebRecord, info: dict[str, Any]) -> dict[str, Any]:
    """The document of a record, still without a text from its page."""
    address = record.metadata["url"]
    page = record.page if isinstance(record.page, str) else (record.page or b"").decode("utf-8", "replace")
    metadata = {
        "warc_url": address,
        "url": normalise_address(address),
        "html": page,
        "warc_date": with_milliseconds(info.get("warcinfo_date")) if work.dolma else record.metadata["warc_date"],
        "warc_filename": info.get("warcinfo_id" if work.dolma else "warc_filename") or unit.file.name,
        "content_type": record.metadata["content_type"],
        "uncompressed_offset": record.metadata["uncompressed_offset"],
    }
    document = {
        "id": record.payload_id if work.dolma else record.id,
        "text": record.text,
        "source": work.source,
        "version": VERSION,
        "metadata": metadata,
    }
    created = sent_time(record.sent) or record.created
    return document | ({"created": created} if created else {})


def with_milliseconds(time: str | None) -> str | None:
    """A time of whole seconds, as allenai/dolma spells it."""
    return time.removesuffix("Z") + ".000Z" if time and "." not in time else time


def sent_time(stated: str | None) -> str | None:
    """The time in an HTTP Date header as ISO 8601; None where there is none or it makes no sense."""
    try:
        time: datetime | None = parsedate_to_datetime(stated) if stated else None
    except (ValueError, IndexError):
        return None
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _write_pages(
    work: Work, unit: Unit, pages: Sequence[tuple[WebRecord, dict[str, Any]]], writer: BlockWriter
) -> None:
    linearize = linearizer(work.linearizer)
    scored = work.before.attributes([document for _, document in pages]) if pages else []
    found: list[tuple[int, dict[str, Any], dict[str, Any]]] = []
    for (record, document), attributes in zip(pages, scored, strict=True):
        if isinstance(attributes, str):
            writer.fail(unit.file, record.number, f"before extraction: {attributes}")
            continue
        if work.before.skip and not attributes:
            writer.drop("no span of the taggers before extraction")
            continue
        if record.page is not None:
            text = with_text(record, linearize)
            if text.failed is not None:
                writer.fail(unit.file, record.number, text.failed)
                continue
            document["text"] = text.text
        if is_blank(document["text"]) and not work.dolma:
            writer.drop("no main text")
            continue
        found.append((record.number, document, attributes))
    scored = work.after.attributes([document for _, document, _ in found]) if found else []
    for (number, document, before), after in zip(found, scored, strict=True):
        if isinstance(after, str):
            writer.fail(unit.file, number, after)
            continue
        if work.after.skip and not after:
            writer.drop("no span of the taggers after extraction")
            continue
        if not work.store_page:
            del document["metadata"]["html"]
        if work.before.plan is not None or work.after.plan is not None or work.dolma:
            document["attributes"] = {**before, **after}
        refused = writer.keep(document)
        if refused is not None:
            writer.fail(unit.file, number, refused)
