"""``dolma-data why ID``: everything that is known of a document, what every rule makes of it, and its fate."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..attributes import MATCHES, decode_row
from ..config.mix import MixStream
from ..config.why import WhyConfig
from ..documents import (
    ATTRIBUTES,
    DOCUMENTS,
    DocumentFile,
    Row,
    find_documents,
    is_blank,
    parse_document,
    read_physical_lines,
)
from ..errors import UserError
from ..files import read_lines
from ..mix.chunks import PROVENANCE
from ..mix.plan import make_plan, root_of
from ..mix.rules import (
    BLANK,
    WHITE_SPACE,
    Funnel,
    Rule,
    Rules,
    apply_rules,
    compile_rules,
    spans_to_replace,
    utf8_length,
)
from ..select.jq import JqError

SHOWN = 60  # characters of a text in a line
MOST_SPANS = 10  # of a key that are printed
JOINED = "joined"
NAMING = ("id", "source", "file", "line")  # of a match, said already


class AttributeRow(msgspec.Struct):
    """A row of attributes, of any tool."""

    attributes: dict[str, list[Annotated[list[int | float], msgspec.Meta(min_length=3, max_length=3)]]]
    id: str | None = None


_decode_row = msgspec.json.Decoder(AttributeRow).decode


def why(identifier: str, config: WhyConfig) -> list[dict[str, Any]]:
    """An account of every line that has the id, one for each stream that reads it; UserError where there is none.

    Without streams only its attributes are told. Nothing is written.
    """
    streams: list[tuple[MixStream | None, list[DocumentFile]]]
    if config.streams:
        plan = make_plan(config)
        streams = [
            (stream, [file for unit in plan.units if unit.stream == number for file in unit.files])
            for number, stream in enumerate(plan.config.streams)
        ]
    else:
        streams = [(None, find_documents(config.documents))]
    accounts = []
    for stream, files in streams:
        for file in files:
            for row in find_rows(file.path, identifier):
                if row.document is None:
                    failed = {"id": identifier, "file": str(file.path), "line": row.line, "failed": row.reason}
                    accounts.append(failed)
                elif config.source in (None, row.document["source"]):
                    accounts.append(explain(file, row.line, row.document, stream, config))
    if not accounts:
        where = ", ".join(item for stream in config.streams for item in stream.documents) or ", ".join(config.documents)
        of = f" of source {config.source!r}" if config.source else ""
        raise UserError(f"no document{of} has the id {identifier!r}", where=where, fix="check the id")
    return accounts


def find_rows(path: Path, identifier: str) -> Iterator[Row]:
    """Yield every line of the file that has the id, also those that are no documents, where they can be told."""
    spellings = {msgspec.json.encode(identifier), _ascii_json(identifier)}
    written = b"|".join(map(re.escape, spellings))
    if identifier.isdecimal():
        written += b"|" + identifier.encode()  # a number is no id, which is why such a line fails
    names_it = re.compile(rb'"id"\s*:\s*(?:' + written + rb")(?![\w.])")
    for line, raw, _ in read_physical_lines(path):
        if any(spelling[1:-1] in raw for spelling in spellings):
            document, reason = parse_document(raw)
            if names_it.search(raw) if document is None else document["id"] == identifier:
                yield Row(line, document, reason, raw)


def _ascii_json(text: str) -> bytes:
    import json

    return json.dumps(text).encode()


def explain(
    file: DocumentFile, line: int, document: dict[str, Any], stream: MixStream | None, config: WhyConfig
) -> dict[str, Any]:
    """The account of one document."""
    text = document["text"]
    names = stream.attributes if stream else ()
    folders = attributes_of(file, line, document)
    account: dict[str, Any] = {
        "id": document["id"],
        "source": document["source"],
        "file": str(file.path),
        "line": line,
        "characters": len(text),
        "attributes": [
            {
                "name": name,
                JOINED: stream is None or name in names,
                "spans": {key: [[*span, _cut(text, span)] for span in found] for key, found in row.items()},
                "matches": matches_of(file, name, line),
            }
            for name, row in folders.items()
        ],
    }
    if stream is not None:
        joined: dict[str, Any] = dict(document.get("attributes") or {})
        for name in names:
            joined |= folders.get(name, {})
        if names:
            document["attributes"] = joined
        rules = compile_rules(stream, config.compat)
        try:
            account |= {"stream": stream.name, "rules": _rules(rules, document), "replaced": _replaced(rules, document)}
            dropped = apply_rules(rules, document, Funnel())
        except ValueError as error:
            raise UserError(str(error), where=file.path, line=line, fix="make the attributes again") from error
        account |= {
            "dropped_by": dropped,
            # what a rule drops is not looked at again; the length and blanks are asked for after the replacements
            "is_replaced": dropped in (None, f"min_text_length {rules.min_text_length}")
            or (dropped == BLANK and not is_blank(text)),
            "trimmed_bytes": utf8_length(document["text"].strip(WHITE_SPACE)),
            "written_to": None if dropped else _written(stream, config, document, f"{file.path.name}:{line}"),
        }
    return account


def attributes_of(file: DocumentFile, line: int, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By name of folder the attributes of the document, of all folders beside it."""
    found: dict[str, dict[str, Any]] = {}
    if not file.in_artifact or not (file.root / ATTRIBUTES).is_dir():
        return found
    for folder in sorted((file.root / ATTRIBUTES).iterdir()):
        path = folder / file.tree
        if not path.is_file():
            continue
        _, raw = next(islice(read_lines(path), line - 1, line), (line, b"null"))
        row = decode_row(path, line, raw, _decode_row)
        if row.id != document["id"]:
            raise UserError(
                f"no attributes of {document['id']!r}", where=path, line=line, fix="make the attributes again"
            )
        found[folder.name] = row.attributes
    return found


def matches_of(file: DocumentFile, name: str, line: int) -> list[dict[str, Any]]:
    """What deduplication or decontamination says of a document: its rows of ``matches.jsonl.gz``."""
    path = file.root / ATTRIBUTES / name / MATCHES
    if not path.is_file():
        return []
    spelling = b'"file":%b,"line":%d,' % (msgspec.json.encode(file.tree), line)
    rows = [msgspec.json.decode(raw) for _, raw in read_lines(path) if spelling in raw]
    return [row for row in rows if (row["file"], row["line"]) == (file.tree, line)]


def _rules(rules: Rules, document: dict[str, Any]) -> list[dict[str, Any]]:
    told = []
    for kind, found in (("include", rules.include), ("exclude", rules.exclude)):
        for rule in found:
            item: dict[str, Any] = {"kind": kind, "rule": rule.text}
            try:
                item["matches"] = rule.matches(document) if kind == "include" else rule.excludes(document)
            except JqError as error:  # whether that stops a mixture depends on the rules before
                item |= {"matches": None, "error": str(error)}
            told.append(item | {"looked_at": looked_at(rule, document)})
    return told


def looked_at(rule: Rule, document: dict[str, Any]) -> dict[str, Any]:
    """The values that a rule asks for, by name; None for those that are not there."""
    needs = rule.needs()
    attributes = document.get("attributes") or {}
    values = {key: attributes.get(key) for key in sorted(needs.attributes or ())}
    fields = sorted((needs.fields or frozenset()) - {ATTRIBUTES, "text"})
    return values | {name: document.get(name) for name in fields}


def _replaced(rules: Rules, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Spans of the replacements whose score asks for it; one that begins inside an earlier one ``overlaps`` it."""
    text = document["text"]
    told = []
    at = 0
    for start, end, score, replacer in spans_to_replace(document, rules):
        limits = {"min_score": replacer.low, "max_score": replacer.high}
        told.append(
            {"rule": replacer.selector.text, "start": start, "end": end, "score": score}
            | {name: limit for name, limit in limits.items() if math.isfinite(limit)}
            | {"text": text[start:end], "replacement": replacer.replacement(document, text[start:end])}
            | {"overlaps": start < at}
        )
        at = at if start < at else end
    return told


def _written(stream: MixStream, config: WhyConfig, document: dict[str, Any], provenance: str) -> str | None:
    """Where the document stands with the text it has now, not another one of its id."""
    folder = root_of(stream, config.compat) / DOCUMENTS
    if not folder.is_dir():
        return None
    for file in find_documents([folder.parent]):
        for row in find_rows(file.path, document["id"]):
            found = row.document
            if found is None or any(found[name] != document[name] for name in ("source", "text")):
                continue
            metadata = found.get("metadata")
            if not isinstance(metadata, dict) or metadata.get(PROVENANCE, provenance) == provenance:
                return f"{file.path}, line {row.line}"
    return None


def _cut(text: str, span: Sequence[float]) -> str:
    """The text of a span that is not the whole document."""
    start, end = int(span[0]), int(span[1])
    return "" if start <= 0 and end >= len(text) else short(text[start:end])


def short(value: object) -> str:
    """In one line of at most ``SHOWN`` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def format_accounts(accounts: Sequence[dict[str, Any]]) -> str:
    """The accounts to read."""
    return "\n\n".join("\n".join(_lines(account)) for account in accounts)


def _lines(account: dict[str, Any]) -> Iterator[str]:
    place = f"{account['file']}, line {account['line']}"
    if "failed" in account:
        yield f"{account['id']!r}: {place}"
        yield f"failed: {account['failed']}; no command uses the line"
        return
    yield f"{account['id']!r} of {account['source']!r}: {place}, {account['characters']:,} characters"
    for folder in account["attributes"]:
        yield f"attributes {folder['name']}{'' if folder[JOINED] else ' (the stream does not join them)'}"
        if not folder["spans"]:
            yield "    no keys"
        for key, found in folder["spans"].items():
            yield from _first(
                f"    {key}",
                (f" [{start}, {end}) {score:g}{f'  {text!r}' if text else ''}" for start, end, score, text in found),
                len(found),
            )
            if not found:
                yield f"    {key}: none"
        rows = ([(name, value) for name, value in row.items() if name not in NAMING] for row in folder["matches"])
        said = (": " + ", ".join(f"{name} {short(repr(value))}" for name, value in row) for row in rows)
        yield from _first("    match", said, len(folder["matches"]))
    if "stream" not in account:
        return
    yield f"stream {account['stream']}"
    for rule in account["rules"]:
        mark = {True: "matches", False: "does not match", None: "fails"}[rule["matches"]]
        error = f" ({rule['error']})" if "error" in rule else ""
        yield f"    {rule['kind']} {mark}: {rule['rule']}{error}"
        for name, value in rule["looked_at"].items():
            yield f"        {name} = {'absent' if value is None else short(value)}"
    does = "replaces" if account["is_replaced"] else "would replace"
    yield from _first(f"    {does}", map(_replacement, account["replaced"]), len(account["replaced"]))
    dropped = account["dropped_by"]
    if dropped is None:
        yield f"kept: {account['written_to'] or 'not written yet, or under another configuration'}"
    elif dropped == BLANK:
        yield f"dropped: {dropped}{' after the replacements' if account['is_replaced'] else ''}"
    else:
        left = f", {account['trimmed_bytes']:,} bytes are left" if account["is_replaced"] else ""
        yield f"dropped: {dropped}{left}"


def _first(what: str, said: Iterable[str], number: int) -> Iterator[str]:
    """The first ``MOST_SPANS`` of a number of things, and how many more there are."""
    for text in islice(said, MOST_SPANS):
        yield what + text
    if number > MOST_SPANS:
        yield f"{what}: {number - MOST_SPANS:,} more"


def _replacement(item: dict[str, Any]) -> str:
    text = f"{short(item['text'])!r} by {item['replacement']!r}"
    limits = "".join(f", {name} {item[name]:g}" for name in ("min_score", "max_score") if name in item)
    passed = "; passed over, since it overlaps an earlier one" if item["overlaps"] else ""
    return f" [{item['start']}, {item['end']}) {text}, score {item['score']:g}{limits}: {item['rule']}{passed}"
