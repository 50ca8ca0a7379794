"""``dolma-data mix``: join attributes, keep or leave out documents, replace spans, write a new documents artifact."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from .attributes import check_manifest, read_aligned
from .config.mix import MixConfig, MixStream, SpanReplacement
from .documents import (
    ATTRIBUTES,
    DOCUMENTS,
    DocumentFile,
    Shard,
    ShardWriter,
    documents_artifact,
    find_documents,
    is_blank,
    refuse_own_input,
)
from .errors import UserError
from .execute import map_ordered
from .files import write_json
from .progress import Progress
from .provenance import recorded
from .select import Selector, compile_path, spans

log = logging.getLogger(__name__)

FUNNEL = "funnel.json"
FUNNEL_VERSION = 1
BLANK = "blank text"
NOT_INCLUDED = "no include rule matches"
NEEDED_FIELDS = ("id", "text", "source")
SUFFIX = {"gz": ".jsonl.gz", "zst": ".jsonl.zst", "": ".jsonl"}
ROWS_TO_PEEK = 100
Counter = dict[str, int]  # by source


@dataclass(frozen=True)
class Replacer:
    """A compiled span replacement: spans with ``low <= score < high`` become ``text``."""

    selector: Selector
    text: str
    low: float
    high: float


@dataclass(frozen=True)
class Rules:
    """What a stream does to a document, compiled."""

    include: tuple[Selector, ...]
    exclude: tuple[Selector, ...]
    replace: tuple[Replacer, ...]
    discard: tuple[str, ...]
    min_text_length: int

    def names(self) -> list[str]:
        """The rules that can drop a document, in the order in which they are asked."""
        include = [NOT_INCLUDED] if self.include else []
        length = [f"min_text_length {self.min_text_length}"] if self.min_text_length else []
        return [BLANK, *include, *(selector.text for selector in self.exclude), *length]


@dataclass
class Funnel:
    """Counts of one stream, by source."""

    read: Counter = field(default_factory=dict)
    kept: Counter = field(default_factory=dict)
    read_bytes: Counter = field(default_factory=dict)
    kept_bytes: Counter = field(default_factory=dict)
    dropped: dict[str, Counter] = field(default_factory=dict)
    matched: dict[str, Counter] = field(default_factory=dict)
    replaced: Counter = field(default_factory=dict)  # by path

    def add(self, other: Funnel) -> None:
        for name in ("read", "kept", "read_bytes", "kept_bytes", "replaced"):
            _add(getattr(self, name), getattr(other, name))
        for mine, theirs in ((self.dropped, other.dropped), (self.matched, other.matched)):
            for rule, counter in theirs.items():
                _add(mine.setdefault(rule, {}), counter)


@dataclass(frozen=True)
class Unit:
    """The input files of one output file of a stream."""

    stream: int
    number: int
    files: tuple[DocumentFile, ...]


def mix(config: MixConfig) -> dict[str, dict[str, int]]:
    """Mix the streams; returns the counts of each output folder.

    Raises UserError for configurations that cannot work, for attributes that are missing, misplaced or not known, and
    for more than ``max_failed`` unreadable documents.
    """
    units = plan(config)
    outputs: dict[Path, list[int]] = {}
    for number, stream in enumerate(config.streams):
        outputs.setdefault(_root(stream), []).append(number)
    counts = {}
    for output, numbers in outputs.items():
        chosen = [unit for unit in units if unit.stream in numbers]
        refuse_own_input(output, (file.path for unit in units for file in unit.files))
        counts[str(output)] = _mix_into(output, config, chosen)
    return counts


def _mix_into(output: Path, config: MixConfig, units: Sequence[Unit]) -> dict[str, int]:
    inputs = dict.fromkeys(path for unit in units for file in unit.files for path in _read_for(file, config, unit))
    with recorded("dolma-data", "mix", folder=output, config=config, inputs=list(inputs)) as record:
        funnels = {unit.stream: Funnel() for unit in units}
        total = sum(file.path.stat().st_size for unit in units for file in unit.files) / 1e6
        with documents_artifact(output, config.max_failed) as artifact, Progress("mix", total, "MB") as progress:
            work = partial(_mix_unit, streams=config.streams, folder=artifact.folder)
            for unit, (shard, funnel) in zip(units, map_ordered(work, units, config.processes), strict=True):
                artifact.add(shard)
                funnels[unit.stream].add(funnel)
                progress.advance(sum(file.path.stat().st_size for file in unit.files) / 1e6)
            counts = artifact.counts()
            write_json(artifact.folder / FUNNEL, _funnel_report(config, funnels))
        record.outputs.append(output / DOCUMENTS)
        record.counts.update(counts)
    log.info("mix: %(read)d read, %(kept)d kept, %(dropped)d dropped, %(failed)d failed", counts)
    return counts


def _read_for(file: DocumentFile, config: MixConfig, unit: Unit) -> list[Path]:
    return [file.path, *(file.attributes_path(name) for name in config.streams[unit.stream].attributes)]


def plan(config: MixConfig) -> list[Unit]:
    """Check the configuration against the files and divide the work; the same for any number of processes."""
    if not config.streams:
        raise UserError("no streams are given", where="streams", fix="write them in a file and pass it with -c")
    seen = set()
    units = []
    for number, stream in enumerate(config.streams):
        if (_root(stream), stream.name) in seen:
            raise UserError(f"two streams named {stream.name!r} share one output", fix="name one otherwise")
        seen.add((_root(stream), stream.name))
        if not stream.name or "/" in stream.name:
            raise UserError(f"{stream.name!r} cannot begin a file name", where="streams.name", fix="choose another")
        rules = compile_rules(stream)
        files = find_documents(stream.documents)
        for file in files:
            for name in stream.attributes:
                if not file.attributes_path(name).is_file():
                    raise UserError(
                        f"{file.path} has no attributes {name!r}",
                        where=file.attributes_path(name),
                        fix="make them for all documents",
                    )
        _check_keys(stream, rules, files)
        units += [Unit(number, shard, tuple(group)) for shard, group in enumerate(_group(files, stream))]
    return units


def compile_rules(stream: MixStream) -> Rules:
    """Compile the rules of a stream; UserError for what cannot work."""
    where = f"stream {stream.name}"
    if stream.filter is not None and not stream.filter.include and not stream.filter.exclude:
        raise UserError("a filter without include and exclude", where=where, fix="leave it out or give it paths")
    if stream.compression.output not in SUFFIX:
        raise UserError(f"unknown compression {stream.compression.output!r}", where=where, fix="use gz, zst or ''")
    for name in stream.output.discard_fields:
        if name in NEEDED_FIELDS:
            raise UserError(f"discard_fields has {name!r}, which every document needs", where=where, fix="keep it")
    for part in (stream.filter, *stream.span_replacement):
        if part is not None and part.syntax != "jsonpath":
            raise UserError(f"syntax {part.syntax!r} is not offered", where=where, fix="write the rule as jsonpath")
    rules = stream.filter
    return Rules(
        include=tuple(compile_path(text) for text in rules.include) if rules else (),
        exclude=tuple(compile_path(text) for text in rules.exclude) if rules else (),
        replace=tuple(_compile_replacement(item, where) for item in stream.span_replacement),
        discard=stream.output.discard_fields,
        min_text_length=stream.output.min_text_length,
    )


def _compile_replacement(item: SpanReplacement, where: str) -> Replacer:
    if item.min_score is None and item.max_score is None:
        raise UserError(f"{item.span} has neither min_score nor max_score", where=where, fix="give one of them")
    if item.replacement.startswith("$"):
        raise UserError("a replacement that is a jq selector is not offered", where=where, fix="write plain text")
    low = -float("inf") if item.min_score is None else item.min_score
    high = float("inf") if item.max_score is None else item.max_score
    return Replacer(compile_path(item.span), item.replacement, low, high)


def _root(stream: MixStream) -> Path:
    """The root of the artifact; Dolma's configurations name its documents folder."""
    path = stream.output.path
    return path.parent if path.name == DOCUMENTS else path


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


def _check_keys(stream: MixStream, rules: Rules, files: Sequence[DocumentFile]) -> None:
    """Refuse rules that ask for attributes which nothing writes; such a rule would silently never hold.

    Known are the keys that manifests declare and those in the first rows. Where a folder has no manifest, a key may
    still come later, so that is only a warning.
    """
    known: set[str] = set()
    certain = True
    for root in dict.fromkeys(file.root for file in files if stream.attributes):
        for name in stream.attributes:
            manifest = check_manifest(root / ATTRIBUTES / name)
            if manifest is None:
                certain = False
            else:
                known.update(key for tagger in manifest["taggers"] for key in tagger["keys"])
    for row, attributes in islice(read_aligned(files[0], stream.attributes), ROWS_TO_PEEK):
        own = row.document.get("attributes") if row.document else None
        if isinstance(own, dict) and own:
            known.update(own)
            certain = False
        known.update(attributes)
    for selector in (*rules.include, *rules.exclude, *(item.selector for item in rules.replace)):
        for key in sorted(selector.attribute_keys() - known):
            near = difflib.get_close_matches(key, sorted(known), 1)
            loaded = ", ".join(stream.attributes) or "none"
            fix = f"did you mean {near[0]}?" if near else f"attributes that are joined: {loaded}"
            problem = f"no attribute {key!r} is known, which the rule {selector.text} asks for"
            if certain:
                raise UserError(problem, where=f"stream {stream.name}", fix=fix)
            log.warning("warning: %s (stream %s); %s", problem, stream.name, fix)


def _mix_unit(unit: Unit, streams: Sequence[MixStream], folder: Path) -> tuple[Shard, Funnel]:
    stream = streams[unit.stream]
    rules = compile_rules(stream)
    funnel = Funnel()
    name = f"{DOCUMENTS}/{stream.name}-{unit.number:04d}{SUFFIX[stream.compression.output]}"
    with ShardWriter(folder, lambda part: name) as writer:
        for file in unit.files:
            for row, attributes in read_aligned(file, stream.attributes):
                if row.document is None:
                    writer.fail(file.path, row.line, row.reason or "")
                    continue
                document = row.document
                if stream.attributes:
                    document["attributes"] = {**(document.get("attributes") or {}), **attributes}
                try:
                    dropped = apply_rules(rules, document, funnel)
                except ValueError as error:
                    raise UserError(
                        str(error), where=file.path, line=row.line, fix="make the attributes again"
                    ) from error
                if dropped is not None:
                    writer.drop(dropped)
                    continue
                metadata = document.get("metadata")
                provenance = {"provenance": f"{file.path.name}:{row.line}"}
                document["metadata"] = {**metadata, **provenance} if isinstance(metadata, dict) else provenance
                writer.keep(document)
    return writer.shard, funnel


def apply_rules(rules: Rules, document: dict[str, Any], funnel: Funnel) -> str | None:
    """Apply the rules to ``document`` in place; returns the rule that dropped it, None if it is kept.

    Every rule is asked, so that the funnel knows all that match. Raises ValueError for spans that do not fit the text.
    """
    source, text = document["source"], document["text"]
    _add(funnel.read, {source: 1})
    _add(funnel.read_bytes, {source: len(text.encode())})
    matched = [BLANK] if is_blank(text) else []
    if rules.include and not any(selector.matches(document) for selector in rules.include):
        matched.append(NOT_INCLUDED)
    matched += [selector.text for selector in rules.exclude if selector.matches(document)]
    if not matched:
        if rules.replace:
            document["text"] = text = replace_spans(document, rules.replace, funnel.replaced)
        for name in rules.discard:
            document.pop(name, None)
        if rules.min_text_length and len(text.strip().encode()) < rules.min_text_length:
            matched.append(f"min_text_length {rules.min_text_length}")
        elif is_blank(text):
            matched.append(BLANK)
    for rule in dict.fromkeys(matched):
        _add(funnel.matched.setdefault(rule, {}), {source: 1})
    if matched:
        _add(funnel.dropped.setdefault(matched[0], {}), {source: 1})
        return matched[0]
    _add(funnel.kept, {source: 1})
    _add(funnel.kept_bytes, {source: len(text.encode())})
    return None


def replace_spans(document: dict[str, Any], replacers: Sequence[Replacer], replaced: Counter) -> str:
    """The text with spans replaced; of overlapping spans the one that starts first (then: is named first) counts.

    An end one past the text is taken as the end, since Dolma's deduplication writes that. Raises ValueError for spans
    that lie outside otherwise.
    """
    text = document["text"]
    found = [
        (start, end, replacer)
        for replacer in replacers
        for start, end, score in spans(replacer.selector.find(document))
        if replacer.low <= score < replacer.high
    ]
    if not found:
        return str(text)
    found.sort(key=lambda item: item[0])
    parts = []
    at = 0
    for start, end, replacer in found:
        if not 0 <= start <= end <= len(text) + 1:
            raise ValueError(f"the span [{start}, {end}] of {replacer.selector.text} lies outside the text")
        if start < at:
            continue
        parts += [text[at:start], replacer.text.replace("{}", text[start:end])]
        at = end
        _add(replaced, {replacer.selector.text: 1})
    return "".join([*parts, text[at:]])


def _funnel_report(config: MixConfig, funnels: dict[int, Funnel]) -> dict[str, Any]:
    total = Funnel()
    rules = []
    for number, funnel in funnels.items():
        total.add(funnel)
        stream = config.streams[number]
        for rule in dict.fromkeys(compile_rules(stream).names()):
            rules.append(
                {
                    "rule": rule,
                    "stream": stream.name,
                    "dropped": _sorted(funnel.dropped.get(rule, {})),
                    "matched": _sorted(funnel.matched.get(rule, {})),
                }
            )
        for item in stream.span_replacement:
            total.replaced.setdefault(item.span, 0)
    return {
        "format_version": FUNNEL_VERSION,
        "read": _sorted(total.read),
        "kept": _sorted(total.kept),
        "rules": rules,
        "replaced_spans": total.replaced,
        "text_bytes": {"read": _sorted(total.read_bytes), "kept": _sorted(total.kept_bytes)},
    }


def _sorted(counter: Counter) -> Counter:
    return dict(sorted(counter.items()))


def _add(counter: Counter, more: Counter) -> None:
    for name, number in more.items():
        counter[name] = counter.get(name, 0) + number
