"""Every command agrees on which lines of a file are documents, whatever fields it looks at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.analysis.corpus import analyze_chunk
from dolma_data.annotate import Chunk
from dolma_data.config.dedupe import DedupeRule, ParagraphKey
from dolma_data.config.mix import MixOutput, MixStream
from dolma_data.config.tokens import FieldSettings
from dolma_data.dedupe.units import encode_units
from dolma_data.documents import parse_document
from dolma_data.mix.chunks import mix_chunk
from dolma_data.mix.reading import MixChunk
from dolma_data.reading import split_lines
from dolma_data.tokens.units import reader

TEXT = "one line of this text\nand another one of as many words"
BROKEN = {  # values of a field that is no text, so that a command may pass over it
    "bad UTF-8": b'"caf\xe9"',
    "a surrogate as UTF-8": b'"\xed\xa0\x80"',
    "an overlong form": b'"\xc0\xaf"',
    "bad UTF-8 as a name": b'{"\xff": 1}',
    "half a pair": b'"\\ud800"',
    "a float out of range": b"1e999",
    "an integer of 5,000 digits": b"9" * 5000,
    "no number": b"01",
    "not a number": b"NaN",
    "an escape that is none": b'"\\x41"',
    "a control character": b'"\x00"',
    "a comma too many": b"[1, ]",
    "nesting": b"[" * 5000 + b"]" * 5000,
    "an end too early": b'{"a": ',
    "the value before it": b'1, "metadata": 1e999, "metadata": 2',
}
WHOLE = {
    "a blank line": b"  ",
    "no object": b"[1, 2]",
    "no JSON": b"text",
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps({"id": "a", "text": "b", "source": "c"}).encode(),
    "two documents": json.dumps({"id": "a", "text": "b", "source": "c"}).encode() * 2,
    "no text": b'{"id": "a", "source": "c"}',
    "a number for an id": b'{"id": 1, "text": "b", "source": "c"}',
    "null for a text": b'{"id": "a", "text": null, "source": "c"}',
    "bad UTF-8 in the text": b'{"id": "a", "text": "\xff", "source": "c"}',
    "the text twice, bad UTF-8 first": b'{"id": "a", "text": "\xff", "text": "b", "source": "c"}',
}
SOUND = {
    "plain": b'{"url": "http://example.org"}',
    "large numbers": b"[1e308, " + b"9" * 400 + b", -1e-999]",
    "a name twice": b'{"a": 1, "a": 2}',
    "a pair": b'"\\ud83d\\ude00"',
    "nested": b"[" * 100 + b"]" * 100,
    "not ASCII": '"Ωmega — 🙂"'.encode(),
}


def line_of(number: int, value: bytes, field: str = "metadata") -> bytes:
    start = json.dumps({"id": f"d{number}", "text": f"{TEXT} {number}", "source": "s"}).encode()
    return start[:-1] + b', "' + field.encode() + b'": ' + value + b"}"


def damaged_corpus() -> tuple[list[bytes], list[int]]:
    """Lines, sound ones and broken ones in turn, and the numbers of the broken ones."""
    lines: list[bytes] = []
    broken: list[int] = []
    sound = list(SOUND.values())
    for field in ("metadata", "attributes", "extra"):
        lines += [line_of(len(lines) + k, value, field) for k, value in enumerate(sound)]
        for value in BROKEN.values():
            lines.append(line_of(len(lines), value, field))
            broken.append(len(lines))
            lines.append(line_of(len(lines), sound[len(lines) % len(sound)], field))
    for line in WHOLE.values():
        lines += [line, line_of(len(lines) + 1, b"{}")]
        broken.append(len(lines) - 1)
    return lines, broken


def quarantined(folder: Path, read_jsonl: Callable[[Path], list[Any]]) -> list[int]:
    rows = read_jsonl(folder / "a.jsonl.gz")
    return [number for number, row in enumerate(rows, start=1) if "quarantined" in row]


BY_TEXT = ("--dedupe.documents.key", "$.text", "--dedupe.documents.attribute-name", "mark")
BY_PARAGRAPH = ("--dedupe.paragraphs.attribute-name", "mark")
BLOOM = ("--bloom-filter.size-in-bytes", "10000", "--bloom-filter.estimated-doc-count", "100", "--bloom-filter.file")
DEDUPE: dict[str, tuple[str, ...]] = {
    "exact": BY_TEXT,
    "minhash": (*BY_TEXT, "--dedupe.method", "minhash"),
    "substring": (*BY_TEXT, "--dedupe.method", "substring"),
    "paragraphs": BY_PARAGRAPH,
    "ngrams": (*BY_PARAGRAPH, "--dedupe.paragraphs.by-ngram.ngram-length", "3"),
    "bloom": (*BY_TEXT, *BLOOM, "bloom.filter"),
    "bloom_paragraphs": (*BY_PARAGRAPH, *BLOOM, "paragraphs.filter"),
}


def test_all_commands_fail_the_same_lines(
    dolma: Any,
    write_documents: Any,
    tmp_path: Path,
    read_jsonl: Callable[[Path], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, broken = damaged_corpus()
    corpus = write_documents(lines)
    attributes = corpus / "attributes"
    common = ("--documents", corpus, "--max-failed", "1000")
    assert dolma("tag", *common, "--experiment", "tagged", "--taggers", "char_length_v1", "c4_v2") == 0
    monkeypatch.chdir(tmp_path)  # the filters lie there
    for name, options in DEDUPE.items():
        assert dolma("dedupe", *common, "--dedupe.name", name, *options) == 0
    (tmp_path / "eval.jsonl").write_text(json.dumps({"id": "e", "text": "a question that nobody has asked before"}))
    for name, more in (("lines", ()), ("overlap", ("--ngram-length", "4"))):
        texts = ("--texts", tmp_path / "eval.jsonl", "--minimum-words", "5")
        assert dolma("decontaminate", *common, "--name", name, *texts, *more) == 0
    made = sorted(path.name for path in attributes.iterdir())
    assert len(made) == 1 + len(DEDUPE) + 2
    for name in made:
        assert quarantined(attributes / name, read_jsonl) == broken, name
        assert dolma("stat", "--attributes", attributes / name) in (0, 2)  # 2: there is no key at all
    (tmp_path / "mix.json").write_text(
        json.dumps(
            {
                "streams": [
                    {
                        "name": "all",
                        "documents": [str(corpus)],
                        "attributes": made,
                        "output": {"path": str(tmp_path / "mixed")},
                        "filter": {"exclude": ["$.attributes[?(@.tagged__char_length_v1__length[0][2] < 1)]"]},
                    }
                ],
                "max_failed": 1000,
            }
        )
    )
    assert dolma("mix", "-c", tmp_path / "mix.json") == 0
    assert [row["line"] for row in read_jsonl(tmp_path / "mixed/quarantine.jsonl")] == broken
    train = ("--documents", tmp_path / "mixed", "--vocab-size", "300", "--output", tmp_path / "tokenizer")
    assert dolma("train-tokenizer", *train) == 0
    tokenizer = ("--tokenizer.name-or-path", tmp_path / "tokenizer", "--destination", tmp_path / "tokens")
    assert dolma("tokens", *common, *tokenizer) == 0
    assert [row["line"] for row in read_jsonl(tmp_path / "tokens/quarantine.jsonl")] == broken
    assert dolma("analyze", *common, "--output", tmp_path / "analysis") == 0
    counts = json.loads((tmp_path / "analysis/analysis.json").read_text())["counts"]
    assert counts == {"read": len(lines), "kept": len(lines) - len(broken), "dropped": 0, "failed": len(broken)}


@given(st.lists(st.tuples(st.integers(0, 999), st.binary(max_size=3), st.integers(0, 3)), max_size=8))
def test_chunks_of_damaged_lines_fail_alike(damages: list[tuple[int, bytes, int]]) -> None:
    lines = []
    for place, data, gone in damages:
        line = line_of(0, b'{"n": [1, 2.5e10, "\xc3\xa9"]}')
        place %= len(line)
        lines.append(line[:place] + data.replace(b"\n", b"") + line[place + gone :])
    lines = split_lines(b"".join(line + b"\n" for line in lines))
    failed = [k for k, line in enumerate(lines, start=1) if parse_document(line)[0] is None]
    stream = MixStream(name="m", documents=(), output=MixOutput(path="x"))

    def chunk() -> Chunk:
        return Chunk.of_lines(0, 1, lines, last=True)

    units, _ = encode_units(DedupeRule(paragraphs=ParagraphKey(attribute_name="p")), None, chunk())
    assert [line for line, _ in units.failures] == failed
    assert [line for line, _ in analyze_chunk("metadata.url", False, (2,), chunk()).failures] == failed
    piece = MixChunk(Path("a.jsonl"), 1, b"".join(line + b"\n" for line in lines), [], [], {})
    mixed = mix_chunk(piece, [stream], None, [None])
    assert [failure.line for failure in mixed.shard.failures] == failed
    take = reader(FieldSettings())
    no_source = [k for k, line in enumerate(lines, start=1) if "source" in (parse_document(line)[1] or "")]
    refused = {k for k, line in enumerate(lines, start=1) if isinstance(take(memoryview(line)), str)}
    assert refused >= set(failed) - set(no_source)  # tokens does not ask for a source
    assert refused <= set(failed)
