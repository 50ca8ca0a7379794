"""Every artifact of data curation, damaged in many ways: each damage is found, in the right file and line."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import zstandard
from builders.damage import Check, Damage, assert_found, cases, manifest, replace, rows
from builders.files import EOS, digest, edit_json, edit_rows, read, read_json, read_rows, write, write_json, write_rows

M = "manifest.json"
A = "documents/a.jsonl.gz"
B = "documents/deep/b.jsonl.zst"
DOCUMENTS: list[Damage] = [
    ("row cut", rows(A, lambda r: r.pop()), M, None, f"documents of {A} is 3, but the content gives 2"),
    ("text changed", rows(A, lambda r: r[1].update(text="other")), M, None, f"text_bytes of {A}"),
    ("source renamed", rows(A, lambda r: r[2].update(source="new")), M, None, "sources: new"),
    ("blank text", rows(A, lambda r: r[1].update(text=" \n")), A, 2, "text: ' \\n' does not match"),
    ("integer id", rows(B, lambda r: r[0].update(id=1)), B, 1, "id: 1 is not of type 'string'"),
    ("no source", rows(A, lambda r: r[2].pop("source")), A, 3, "'source' is a required property"),
    ("same id twice", rows(A, lambda r: r[1].update(id="a1")), A, 2, "id 'a1' of source 'web' stands at "),
    ("not JSON", lambda f: write(f / A, read(f / A) + b"{\n"), A, 4, "not valid JSON"),
    ("NaN", lambda f: write(f / A, read(f / A).replace(b'"version": null', b'"x": NaN')), A, 2, "not valid JSON"),
    ("cut gzip", lambda f: (f / A).write_bytes((f / A).read_bytes()[:-9]), A, 4, "damaged or cut off"),
    ("file gone", lambda f: (f / B).unlink(), B, None, "manifest.json lists this file, but it is missing"),
    ("file added", lambda f: write_rows(f / "documents/c.jsonl", []), "documents/c.jsonl", None, "does not list"),
    ("foreign file", lambda f: write(f / "documents/c.txt", b""), "documents/c.txt", None, "not a JSON Lines file"),
    ("time in gzip", lambda f: (f / A).write_bytes(gzip.compress(read(f / A), mtime=1)), A, None, "time stamp"),
    (
        "lost record",
        manifest(lambda m: m["counts"].update(read=8)),
        "manifest.json",
        None,
        "kept + dropped + failed = 7",
    ),
    (
        "kept wrong",
        manifest(lambda m: m["counts"].update(kept=4, dropped=2)),
        "manifest.json",
        None,
        "counts.kept is 4",
    ),
    ("failed wrong", rows("quarantine.jsonl", lambda r: r.append(r[0])), M, None, "counts.failed is 1"),
    ("odd failure", rows("quarantine.jsonl", lambda r: r[0].update(line=0)), "quarantine.jsonl", 1, "line: 0 is less"),
    ("extra key", manifest(lambda m: m.update(note="")), M, None, "'note' was unexpected"),
    (
        "version",
        manifest(lambda m: m.update(format_version=2)),
        "manifest.json",
        None,
        "format_version: 1 was expected",
    ),
    ("path outside", manifest(lambda m: m["files"][0].update(path="../a")), M, None, "leads out of"),
    ("listed twice", manifest(lambda m: m["files"].append(m["files"][0])), M, None, f"lists {A} twice"),
]
FUNNEL = "funnel.json"
MIXED: list[Damage] = [
    (
        "lost",
        lambda f: edit_json(f / FUNNEL, lambda m: m["read"].update(web=5)),
        FUNNEL,
        None,
        "web: read 5 - dropped 1",
    ),
    ("kept", lambda f: edit_json(f / FUNNEL, lambda m: m["kept"].update(books=9)), FUNNEL, None, "kept of books is 9"),
    (
        "dropped more than matched",
        lambda f: edit_json(f / FUNNEL, lambda m: m["rules"][0]["matched"].update(web=0)),
        FUNNEL,
        None,
        "dropped 1 of web, but matched only 0",
    ),
    (
        "bytes",
        lambda f: edit_json(f / FUNNEL, lambda m: m["text_bytes"]["kept"].update(web=1)),
        FUNNEL,
        None,
        "text_bytes.kept of web is 1",
    ),
    ("counts", manifest(lambda m: m["counts"].update(read=8, dropped=2)), FUNNEL, None, "Σ dropped is 1"),
]
TAGS = "a.jsonl.gz"
ATTRIBUTES: list[Damage] = [
    ("row cut", rows(TAGS, lambda r: r.pop(0)), TAGS, 1, "id 'a2' of 'web', but this row of the documents is 'a1'"),
    ("last row cut", rows(TAGS, lambda r: r.pop()), TAGS, 4, "ends after 3 rows, but"),
    ("row added", rows(TAGS, lambda r: r.append(r[-1])), TAGS, 5, "goes on after the last row"),
    ("rows swapped", rows(TAGS, lambda r: r.reverse()), TAGS, 1, "a tombstone, but the line of"),
    ("no tombstone", rows(TAGS, lambda r: r.__setitem__(3, r[0])), TAGS, 4, "so a tombstone belongs here"),
    ("odd tombstone", rows(TAGS, lambda r: r[3].update(id="x")), TAGS, 4, "id: 'x' is not of type 'null'"),
    (
        "bytes for code points",
        rows(TAGS, lambda r: shift(r[0], 32)),
        TAGS,
        1,
        "span 0..32 is not inside the text of 30",
    ),
    ("backwards", rows(TAGS, lambda r: spans(r[1]).__setitem__(0, [5, 4, 1.0])), TAGS, 2, "span 5..4 is not inside"),
    ("not a span", rows(TAGS, lambda r: spans(r[1]).__setitem__(0, [0, 1])), TAGS, 2, "is too short"),
    (
        "offset 1.0",
        rows(TAGS, lambda r: spans(r[1]).__setitem__(0, [0, 1.0, 1.0])),
        TAGS,
        2,
        "is not [start, end",
    ),
    (
        "boolean score",
        rows(TAGS, lambda r: spans(r[1]).__setitem__(0, [0, 1, True])),
        TAGS,
        2,
        "is not [start, end",
    ),
    ("infinite score", lambda f: replace(f / TAGS, b"0.5", b"1e999"), TAGS, 1, ""),
    (
        "undeclared key",
        rows(TAGS, lambda r: r[0]["attributes"].update(new=[])),
        "manifest.json",
        None,
        "the key new",
    ),
    ("no file", lambda f: (f / "deep/b.jsonl.zst").unlink(), "deep/b.jsonl.zst", None, "missing: "),
    ("extra file", lambda f: write_rows(f / "c.jsonl", []), "c.jsonl", None, "there is no file of documents"),
    ("foreign file", lambda f: write(f / "notes.txt", b""), "notes.txt", None, "is no part of the artifact"),
    ("name", manifest(lambda m: m.update(name="other")), M, None, "name is 'other'"),
    (
        "rows",
        manifest(lambda m: m["files"][0].update(rows=9)),
        "manifest.json",
        None,
        "(rows, quarantined) of a.jsonl.gz",
    ),
    ("failed", manifest(lambda m: m["counts"].update(failed=0, kept=6)), M, None, "counts.failed is 0"),
]
MATCHES = "matches.jsonl.gz"


def forget_first(match: dict[str, object]) -> None:
    match.update(first_id=None)
    del match["first_file"], match["first_line"]


DUPLICATES: list[Damage] = [
    ("unknown id", rows(MATCHES, lambda r: r[0].update(id="zz")), MATCHES, 1, "a.jsonl.gz has no document 'zz'"),
    ("other line", rows(MATCHES, lambda r: r[0].update(line=1)), MATCHES, 1, "'a2' of source 'web' in line 1"),
    ("unknown first", rows(MATCHES, lambda r: r[0].update(first_id="zz")), MATCHES, 1, "has no document 'zz'"),
    ("first elsewhere", rows(MATCHES, lambda r: r[0].update(first_line=3)), MATCHES, 1, "no document 'a2'"),
    ("first nowhere", rows(MATCHES, lambda r: r[0].pop("first_line")), MATCHES, 1, "'first_line' is a required"),
    ("no such span", rows(MATCHES, lambda r: r[0].update(end=38)), MATCHES, 1, "'a2' has no span 20..38"),
    ("match gone", rows(MATCHES, lambda r: r.clear()), TAGS, 2, "does not say what the span 20..39 matches"),
    ("other shape", rows(MATCHES, lambda r: r[0].pop("first_source")), MATCHES, 1, "'first_source' is a required"),
    ("half a name", rows(MATCHES, lambda r: forget_first(r[0])), MATCHES, 1, "'web' is not of type 'null'"),
    (
        "place alone",
        rows(MATCHES, lambda r: r[0].update(first_id=None, first_source=None)),
        MATCHES,
        1,
        "False schema does not allow 'a.jsonl.gz'",
    ),
    ("no source", rows(MATCHES, lambda r: r[0].update(first_source=None)), MATCHES, 1, "None is not of type 'string'"),
]
UNITS = "paragraphs.jsonl.gz"
DECONTAMINATION_SET: list[Damage] = [
    ("row cut", rows(UNITS, lambda r: r.pop()), M, None, "counts is {'paragraphs': 1, 'documents': 1}"),
    ("twelve words", rows(UNITS, lambda r: shorten(r[0])), UNITS, 1, "12 words, fewer than minimum_words 13"),
    ("white space", rows(UNITS, lambda r: r[0].update(text=r[0]["text"] + " ")), UNITS, 1, "is not one line without"),
    ("two lines", rows(UNITS, lambda r: r[0].update(text=r[0]["text"] + "\nx")), UNITS, 1, "is not one line without"),
    ("paragraph without text", rows(UNITS, lambda r: r[0].update(text=None)), UNITS, 1, "None is not of type 'string'"),
    ("document with text", rows(UNITS, lambda r: r[1].update(text="t")), UNITS, 2, "'t' is not of type 'null'"),
    ("exempt source", rows(UNITS, lambda r: r[0].update(source="code")), UNITS, 1, "source 'code' is exempt"),
    ("extra file", lambda f: write(f / "notes.txt", b""), "notes.txt", None, "is no part of the artifact"),
]
IDS, TABLE, INDEX = "part-0-00000.npy", "part-0-00000.csv.gz", "documents.idx"
TOKENS: list[Damage] = [
    ("cut", lambda f: write(f / IDS, read(f / IDS)[:-2]), IDS, None, "bytes, but"),
    ("EOS inside", lambda f: poke(f / IDS, 5, EOS), IDS, None, "token 5 is an EOS inside the document that ends at"),
    ("no EOS", lambda f: poke(f / IDS, -1, 7), IDS, None, "not the EOS of the document in row 4 of the CSV"),
    ("beyond the vocabulary", lambda f: poke(f / IDS, 2, 259), IDS, None, "token 2 is 259, not below 259"),
    ("changed content", lambda f: poke(f / IDS, 2, 9), M, None, "fingerprint is"),
    ("wider dtype", manifest(lambda m: m.update(dtype="uint32")), M, None, "dtype is 'uint32'"),
    (
        "gap",
        lambda f: table(f, lambda t: t[1].__setitem__(0, int(t[1][0]) + 1)),
        TABLE,
        2,
        "but the document before ends at",
    ),
    ("row cut", lambda f: table(f, lambda t: t.pop()), TABLE, None, "the number of rows is 3"),
    ("column cut", lambda f: table(f, lambda t: t[2].pop()), TABLE, 3, "is not start,end,id,src,loc"),
    ("line 0", lambda f: table(f, lambda t: t[2].__setitem__(4, 0)), TABLE, 3, "loc 0 is not a line number"),
    ("no table", lambda f: (f / TABLE).unlink(), TABLE, None, "missing"),
    ("index unsorted", lambda f: swap_records(f / INDEX), INDEX, None, "record 0 is not in order"),
    ("index cut", lambda f: write(f / INDEX, read(f / INDEX)[:-24]), INDEX, None, "but 5 documents take 120"),
    ("index points elsewhere", lambda f: poke_offset(f / INDEX), INDEX, None, "but the CSV files give"),
    (
        "other tokenizer",
        lambda f: replace(f / "tokenizer.json", b'"<|padding|>"', b'"<|pad|>"'),
        "manifest.json",
        None,
        "tokenizer_digest",
    ),
    ("totals", manifest(lambda m: m.update(tokens=1)), M, None, "tokens is 1, but the content gives"),
    ("largest id", manifest(lambda m: m.update(max_token_id=1)), M, None, "max_token_id is 1, but the content gives"),
    ("vocabulary", manifest(lambda m: m.update(vocab_size=300)), M, None, "vocab_size is 300"),
    ("pad", manifest(lambda m: m.update(pad_token_id=400)), M, None, "pad_token_id 400 is not below"),
    ("kept", manifest(lambda m: m["counts"].update(kept=4, dropped=1)), M, None, "counts.kept is 4"),
    ("extra part", lambda f: write(f / "part-9.npy", b""), "part-9.npy", None, "is no part of the artifact"),
    ("part gone", lambda f: (f / IDS).unlink(), IDS, None, "manifest.json lists this file, but it is missing"),
]
FROM_DOCUMENTS: list[Damage] = [
    ("other line", lambda f: table(f, lambda t: t[0].__setitem__(4, 3)), TABLE, 1, "line 3 has id 'a3'"),
    (
        "beyond",
        lambda f: table(f, lambda t: t[0].__setitem__(4, 30)),
        "manifest.json",
        None,
        "loc 30 is beyond",
    ),
    (
        "other file",
        lambda f: table(f, lambda t: t[0].__setitem__(3, "documents/x.jsonl")),
        "manifest.json",
        None,
        "is no file of documents",
    ),
    ("other text", lambda f: poke(f / IDS, 2, 9), TABLE, 1, "other from token 2 on"),
    ("read", manifest(lambda m: m["counts"].update(read=6, dropped=1)), M, None, "counts.read is 6"),
]
TOKENIZER: list[Damage] = [
    (
        "other file",
        lambda f: replace(f / "tokenizer.json", b'"th"', b'"zz"'),
        "manifest.json",
        None,
        "tokenizer_digest",
    ),
    ("eos", manifest(lambda m: m.update(eos_token_id=5)), M, None, "eos_token_id is 5"),
    ("no config", lambda f: (f / "tokenizer_config.json").unlink(), "tokenizer_config.json", None, "missing"),
    ("size", manifest(lambda m: m.update(vocab_size=9)), M, None, "vocab_size is 9"),
    (
        "other EOS for transformers",
        lambda f: edit_json(f / "tokenizer_config.json", lambda c: c.update(eos_token="<|padding|>")),
        "tokenizer_config.json",
        None,
        "eos token of transformers",
    ),
]
SUMMARIES: list[Damage] = [
    ("bins", rows("", lambda r: r[0]["bins"].pop()), "", 1, "3 bins for 3 counts"),
    ("order", rows("", lambda r: r[0]["bins"].reverse()), "", 1, "the bins do not rise"),
    ("total", rows("", lambda r: r[0].update(total=4)), "", 1, "total is 4, but the content gives 3"),
    ("sum", rows("", lambda r: r[0].update(sum=10.0)), "", 1, "sum 10.0 of 3 values between"),
    ("twice", rows("", lambda r: r.append(r[0])), "", 2, "stands there twice"),
]
RECORD = "20260101T000000-train-tokenizer-0123abcd.json"


def record(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / RECORD, edit)


def spans(row: Any) -> Any:
    return row["attributes"]["quality__length__characters"]


def shift(row: Any, end: int) -> None:
    spans(row)[0][1] = end


def shorten(row: Any) -> None:
    row["text"] = row["text"].rsplit(" ", 1)[0]


def poke(path: Path, place: int, value: int) -> None:
    """Put another id of two bytes at a place."""
    ids = list(struct.unpack(f"<{path.stat().st_size // 2}H", path.read_bytes()))
    ids[place] = value
    path.write_bytes(struct.pack(f"<{len(ids)}H", *ids))


def table(folder: Path, edit: Callable[[list[list[Any]]], Any]) -> None:
    cells = [line.split(",") for line in read(folder / TABLE).decode().splitlines()]
    edit(cells)
    write(folder / TABLE, "".join(",".join(map(str, row)) + "\r\n" for row in cells).encode())


def swap_records(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[24:48] + data[:24] + data[48:])


def poke_offset(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:16] + struct.pack("<Q", 99) + data[24:])


@cases(DOCUMENTS)
def test_damaged_documents(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.documents())


@cases(MIXED)
def test_damaged_funnel(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.mixed())


@cases(ATTRIBUTES)
def test_damaged_attributes(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.attributes())


def test_a_funnel_beside_documents_in_dolmas_places_is_checked_by_its_sums(
    build: SimpleNamespace, check: Check
) -> None:
    mixed = build.mixed()
    folder = mixed.with_name("plain.mix")
    folder.mkdir()
    (mixed / FUNNEL).rename(folder / FUNNEL)
    build.provenance("mix").rename(folder / "provenance")

    assert f"ok: funnel {folder} (6 documents read, 5 kept)" in check(folder)[1]

    edit_json(folder / FUNNEL, lambda m: m["kept"].update(books=2))
    status, lines = check(folder)
    assert status == 1
    assert lines[0] == f"{folder / FUNNEL}: books: read 3 - dropped 0 = 3, but kept = 2"


CLASSIFIER: list[Damage] = [
    ("other model", lambda f: write(f / "model.bin", b"abd"), M, None, "digest"),
    ("no model", lambda f: (f / "model.bin").unlink(), "model.bin", None, "missing"),
    ("no report", lambda f: (f / "report.json").unlink(), "report.json", None, "missing"),
    ("label twice", manifest(lambda m: m["labels"].append("loud")), M, None, "one comes twice"),
    ("one label", manifest(lambda m: m["labels"].pop()), M, None, "is too short"),
    ("held out", manifest(lambda m: m["examples"].update(held_out=3)), "report.json", None, "examples is 2, but"),
    (
        "confusion",
        lambda f: edit_json(f / "report.json", lambda m: m["confusion"]["calm"].update(loud=4)),
        "report.json",
        None,
        "the sum of confusion is 6, but the content gives 2",
    ),
    ("shape", lambda f: edit_json(f / "report.json", lambda m: m.pop("labels")), "report.json", None, "not the report"),
]


@cases(CLASSIFIER)
def test_damaged_classifier(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.classifier())


@cases(DUPLICATES)
def test_damaged_matches(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.duplicates())


def test_matches_of_decontamination_have_their_own_shape(build: SimpleNamespace, check: Check) -> None:
    folder = build.duplicates()
    unit = {"unit_id": "v1", "unit_source": "wiki", "unit_domain": "en", "kind": "paragraph"}
    match = {"id": "a2", "source": "web", "file": "a.jsonl.gz", "line": 2, "start": 20, "end": 39, **unit}
    write_rows(folder / MATCHES, [match])
    assert check(folder)[0] == 0

    write_rows(folder / MATCHES, [match, {**match, "kind": "line"}])
    status, lines = check(folder)
    assert status == 1
    assert lines[0].startswith(f"{folder / MATCHES}:2: kind: 'line' is not one of")


def test_a_match_by_ngrams_says_how_much_of_the_unit_was_found(build: SimpleNamespace, check: Check) -> None:
    folder = build.duplicates()
    unit = {"unit_id": "v1", "unit_source": "wiki", "unit_domain": "en", "kind": "item"}
    match = {"id": "a2", "source": "web", "file": "a.jsonl.gz", "line": 2, "start": 20, "end": 39, **unit}
    write_rows(folder / MATCHES, [match | {"score": 0.75}, match | {"score": 1.0, "part": "question"}])
    assert check(folder)[0] == 0

    write_rows(folder / MATCHES, [match, match | {"score": 1.5}, match | {"kind": "paragraph", "score": 1.0}])
    status, lines = check(folder)
    assert status == 1
    assert lines[0] == f"{folder / MATCHES}:1: 'score' is a required property"
    assert lines[1].startswith(f"{folder / MATCHES}:2: score: 1.5 is greater than the maximum")
    assert lines[2] == f"{folder / MATCHES}:3: False schema does not allow 1.0"


def test_what_a_unit_repeats_may_lie_in_another_corpus_or_be_known_to_a_filter_alone(
    build: SimpleNamespace, check: Check
) -> None:
    folder = build.duplicates()
    match = {"id": "a2", "source": "web", "file": "a.jsonl.gz", "line": 2, "start": 20, "end": 39}
    first = {"first_id": "o1", "first_source": "old", "first_file": "o.jsonl.gz", "first_line": 9}
    write_rows(folder / MATCHES, [match | first | {"first_corpus": "old/documents"}])
    assert check(folder)[0] == 0

    write_rows(folder / MATCHES, [match | {"first_id": None, "first_source": None}])
    assert check(folder)[0] == 0


@cases(DECONTAMINATION_SET)
def test_damaged_decontamination_set(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.decontamination_set())


@cases(TOKENS)
def test_damaged_tokens(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.tokens())


def test_a_document_that_could_not_be_encoded_stands_in_the_quarantine_of_tokens(
    build: SimpleNamespace, check: Check
) -> None:
    folder = build.tokens()
    edit_json(folder / M, lambda m: m["counts"].update(read=6, failed=1))
    assert f"{folder / M}: counts.failed is 1, but the content gives 0" in check(folder)[1]

    write_rows(folder / "quarantine.jsonl", [{"file": "documents/a.jsonl.gz", "line": 4, "reason": "not JSON"}])
    assert check(folder)[0] == 0


def test_tokens_lead_back_to_their_documents(build: SimpleNamespace, check: Check) -> None:
    folder = build.tokens()

    assert check(folder, "--documents", folder.parent / "documents_artifact")[0] == 0


def test_copies_that_were_mixed_lead_back_though_they_are_not_counted_as_the_documents_are(
    build: SimpleNamespace, check: Check
) -> None:
    folder = build.tokens()
    documents = folder.parent / "documents_artifact"
    edit_json(folder / M, lambda m: m["counts"].update(read=10, dropped=5))
    assert f"{folder / M}: counts.read is 10, but the content gives 5" in check(folder, "--documents", documents)[1]

    build.provenance("reshard").rename(folder / "provenance")
    assert check(folder, "--documents", documents)[0] == 0


def test_text_that_was_cut_at_newlines_is_cut_by_the_check(build: SimpleNamespace, check: Check) -> None:
    from artifact_checks.tokens import SEGMENT

    assert [match[0] for match in SEGMENT.finditer("\n\na b\n\n\nc\n")] == ["\n\na b", "\n\n\nc", "\n"]
    folder = build.tokens()
    edit_json(folder / M, lambda m: m.update(segment_before_tokenization=True))
    assert check(folder, "--documents", folder.parent / "documents_artifact")[0] == 0  # bytes are cut anywhere alike


def test_texts_are_looked_for_where_the_manifest_says(build: SimpleNamespace, check: Check) -> None:
    folder = build.tokens()
    documents = folder.parent / "documents_artifact"
    edit_json(folder / M, lambda m: m.update(fields={"text": "text", "id": None}))
    assert check(folder, "--documents", documents)[0] == 0
    edit_json(folder / M, lambda m: m.update(fields={"text": "metadata.body", "id": "id"}))
    assert any("is no document: no metadata.body" in line for line in check(folder, "--documents", documents)[1])


@cases(FROM_DOCUMENTS)
def test_tokens_that_do_not_lead_back(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    folder = build.tokens()
    assert_found(check, damage, folder, "--documents", folder.parent / "documents_artifact")


@cases(TOKENIZER)
def test_damaged_tokenizer(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.tokenizer())


@cases(SUMMARIES)
def test_damaged_summaries(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.summaries())


@cases(
    [
        ("name", lambda f: (f / RECORD).rename(f / "x.json"), "x.json", None, "the name is not TIME-COMMAND"),
        (
            "command",
            record(lambda r: r.update(command="mix")),
            RECORD,
            None,
            "command is",
        ),
        (
            "digest",
            record(lambda r: r.update(inputs={"a": "x"})),
            RECORD,
            None,
            "inputs/a: 'x'",
        ),
        (
            "key gone",
            record(lambda r: r.pop("seed")),
            RECORD,
            None,
            "'seed' is a required",
        ),
        (
            "clock",
            record(lambda r: r.update(finished="2025-01-01T00:00:00+00:00")),
            RECORD,
            None,
            "before it started",
        ),
    ]
)
def test_damaged_provenance(damage: Damage, build: SimpleNamespace, check: Check) -> None:
    assert_found(check, damage, build.provenance())


def test_a_cut_document_file_may_have_one_tombstone_more(build: SimpleNamespace, check: Check) -> None:
    """Where compressed documents are damaged, the place of the damage counts as a line that cannot be read."""
    folder = build.plain()
    documents = folder / "documents" / "x.jsonl.gz"
    content = read(documents)
    packed = bytearray(gzip.compress(content, mtime=0))
    documents.write_bytes(bytes(packed[:-8]))
    edit_rows(
        folder / "attributes/t/x.jsonl.gz",
        lambda r: r.append({"id": None, "attributes": {}, "source": None, "quarantined": "cut off"}),
    )

    _, lines = check(folder)

    assert f"ok: attributes {folder}/attributes/t (3 rows, 1 spans)" in lines
    assert any(line.startswith(f"{documents}:3: damaged or cut off") for line in lines)


def test_documents_cut_between_two_lines_of_a_zstd_frame_are_named(tmp_path: Path, check: Check) -> None:
    packing = zstandard.ZstdCompressor().compressobj()
    whole_line = packing.compress(b'{"id": "a", "text": "t", "source": "s"}\n')
    cut = whole_line + packing.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)  # another block would end the frame
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents/x.jsonl.zst").write_bytes(cut)

    assert f"{tmp_path}/documents/x.jsonl.zst:2: damaged or cut off: the file ends inside a frame" in check(tmp_path)[1]


def test_the_digest_helper_of_these_tests_is_plain_sha256(tmp_path: Path) -> None:
    write(tmp_path / "a", b"abc")

    assert digest(tmp_path / "a") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_json(write_json(tmp_path / "b", {"x": 1})) == {"x": 1}
    assert read_rows(write_rows(tmp_path / "c.gz", [{"x": 1}])) == [{"x": 1}]
