"""``dolma-data why ID``: everything that is known of a document, what every rule makes of it, and its fate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ..attributes import MATCHES
from ..config.mix import MixStream
from ..config.why import WhyConfig
from ..documents import ATTRIBUTES, DOCUMENTS, DocumentFile, find_documents, parse_document, read_physical_lines
from ..errors import UserError
from ..files import read_lines
from ..mix.plan import make_plan, root_of
from ..mix.rules import Funnel, Rule, Rules, apply_rules, compile_rules, spans_to_replace

SHOWN = 60  # characters of a text in a line
MOST_SPANS = 10  # of a key that are printed
JOINED = "joined"


def why(identifier: str, config: WhyConfig) -> list[dict[str, Any]]:
    """An account of every document that has the id, one for each stream that reads it; UserError where there is none.

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
            for line, document in find_document(file.path, identifier, config.source):
                accounts.append(explain(file, line, document, stream, config))
    if not accounts:
        where = ", ".join(item for stream in config.streams for item in stream.documents) or ", ".join(config.documents)
        of = f" of source {config.source!r}" if config.source else ""
        raise UserError(f"no document{of} has the id {identifier!r}", where=where, fix="check the id")
    return accounts


def find_document(path: Path, identifier: str, source: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line, document)`` for every document of the file that has the id (and source)."""
    spellings = {msgspec.json.encode(identifier), _ascii_json(identifier)}
    for line, raw, _ in read_physical_lines(path):
        if any(spelling in raw for spelling in spellings):
            document, _ = parse_document(raw)
            if document is not None and document["id"] == identifier and source in (None, document["source"]):
                yield line, document


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
                "matches": matches_of(file, name, document),
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
        account |= {"dropped_by": dropped, "written_to": None if dropped else _written(stream, config, document)}
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
        row = msgspec.json.decode(raw)
        if not isinstance(row, dict) or row.get("id") != document["id"]:
            raise UserError(
                f"no attributes of {document['id']!r}", where=path, line=line, fix="make the attributes again"
            )
        found[folder.name] = row["attributes"]
    return found


def matches_of(file: DocumentFile, name: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    """What deduplication or decontamination says of the document: the rows of ``matches.jsonl.gz``."""
    path = file.root / ATTRIBUTES / name / MATCHES
    if not path.is_file():
        return []
    spelling = msgspec.json.encode(document["id"])
    rows = (msgspec.json.decode(raw) for _, raw in read_lines(path) if spelling in raw)
    return [row for row in rows if row["id"] == document["id"] and row["source"] == document["source"]]


def _rules(rules: Rules, document: dict[str, Any]) -> list[dict[str, Any]]:
    kinds: Sequence[tuple[str, Rule]] = [
        *(("include", rule) for rule in rules.include),
        *(("exclude", rule) for rule in rules.exclude),
    ]
    return [
        {
            "kind": kind,
            "rule": rule.text,
            "matches": rule.matches(document) if kind == "include" else rule.excludes(document),
            "looked_at": looked_at(rule, document),
        }
        for kind, rule in kinds
    ]


def looked_at(rule: Rule, document: dict[str, Any]) -> dict[str, Any]:
    """The values that a rule asks for, by name; None for those that are not there."""
    needs = rule.needs()
    attributes = document.get("attributes") or {}
    values = {key: attributes.get(key) for key in sorted(needs.attributes or ())}
    fields = sorted((needs.fields or frozenset()) - {ATTRIBUTES, "text"})
    return values | {name: document.get(name) for name in fields}


def _replaced(rules: Rules, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Spans of the replacements whose score asks for it; of overlapping ones the first counts."""
    text = document["text"]
    return [
        {"rule": replacer.selector.text, "start": start, "end": end, "score": score}
        | {"text": text[start:end], "replacement": replacer.replacement(document)}
        for start, end, score, replacer in spans_to_replace(document, rules)
    ]


def _written(stream: MixStream, config: WhyConfig, document: dict[str, Any]) -> str | None:
    folder = root_of(stream, config.compat) / DOCUMENTS
    if not folder.is_dir():
        return None
    for file in find_documents([folder.parent]):
        for line, _ in find_document(file.path, document["id"], document["source"]):
            return f"{file.path}, line {line}"
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
    yield f"{account['id']!r} of {account['source']!r}: {place}, {account['characters']:,} characters"
    for folder in account["attributes"]:
        yield f"attributes {folder['name']}{'' if folder[JOINED] else ' (the stream does not join them)'}"
        for key, found in folder["spans"].items():
            for start, end, score, text in found[:MOST_SPANS]:
                yield f"    {key} [{start}, {end}) {score:g}{f'  {text!r}' if text else ''}"
            if len(found) > MOST_SPANS:
                yield f"    {key}: {len(found) - MOST_SPANS} more"
            if not found:
                yield f"    {key}: none"
        for match in folder["matches"][:MOST_SPANS]:
            details = ", ".join(f"{name} {value!r}" for name, value in match.items() if name not in ("id", "source"))
            yield f"    match: {short(details)}"
        if len(folder["matches"]) > MOST_SPANS:
            yield f"    match: {len(folder['matches']) - MOST_SPANS} more"
    if "stream" not in account:
        return
    yield f"stream {account['stream']}"
    for rule in account["rules"]:
        mark = "matches" if rule["matches"] else "does not match"
        yield f"    {rule['kind']} {mark}: {rule['rule']}"
        for name, value in rule["looked_at"].items():
            yield f"        {name} = {'absent' if value is None else short(value)}"
    for item in account["replaced"]:
        text = f"{short(item['text'])!r} by {item['replacement']!r}"
        yield f"    replaces [{item['start']}, {item['end']}) {text}, score {item['score']:g}: {item['rule']}"
    if account["dropped_by"] is not None:
        yield f"dropped: {account['dropped_by']}"
    else:
        yield f"kept: {account['written_to'] or 'not written yet, or under another configuration'}"
