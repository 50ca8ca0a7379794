"""Files that unpack to nothing but lines that are no documents: every command stops before it has listed them all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from isal import igzip

from dolma_data import annotate, documents
from dolma_data.cli import execute
from dolma_data.mix import reading as mix_reading
from dolma_data.tokens import units as token_units

RUBBISH = b"x\n" * 20_000
ROW = {"id": "1", "text": "some words of text", "source": "s", "label": "l"}
DOCUMENT = json.dumps(ROW).encode() + b"\n"
COMMANDS = {
    "tag": ["tag", "--documents", "corpus", "--taggers", "char_length_v1"],
    "dedupe": ["dedupe", "--documents", "corpus", "--dedupe.paragraphs.attribute-name", "repeated"],
    "dedupe-documents": ["dedupe", "--documents", "corpus", "--dedupe.documents.attribute-name", "repeated"],
    "decontaminate": ["decontaminate", "--documents", "corpus", "--texts", "items.jsonl", "--ngram-length", "2"],
    "mix": ["mix", "-c", "mix.json"],
    "tokens": ["tokens", "--documents", "corpus", "--destination", "output", "--tokenizer.name-or-path", "tokenizer"],
    "extract": ["extract", "corpus/documents", "--output", "output"],
    "analyze": ["analyze", "--documents", "corpus", "--output", "output"],
    "train-tokenizer": ["train-tokenizer", "--documents", "corpus", "--output", "output", "--vocab-size", "300"],
    "train-classifier": ["train-classifier", "--documents", "corpus", "--output", "output"],
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of single letters and a few pairs."""
    root = tmp_path_factory.mktemp("tokenizer")
    words = " ".join(f"{k} {k * 7919:x}" for k in range(1, 300))
    (root / "a.jsonl").write_text(json.dumps({"id": "a", "text": words, "source": "s"}) + "\n")
    arguments = ["--documents", str(root / "a.jsonl"), "--vocab-size", "262", "--output", str(root / "out")]
    assert execute(["train-tokenizer", *arguments]) == 0
    return root / "out"


@pytest.fixture
def bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Path) -> Path:
    """A document, lines of rubbish without end, and small files after them; chunks and limits are as small."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokenizer").symlink_to(tokenizer)
    folder = tmp_path / "corpus" / "documents"
    folder.mkdir(parents=True)
    (folder / "a.jsonl.gz").write_bytes(igzip.compress(DOCUMENT + RUBBISH))
    for name in "bcd":
        (folder / f"{name}.jsonl.gz").write_bytes(igzip.compress(DOCUMENT, 0))
    Path("items.jsonl").write_text(json.dumps({"id": "item", "text": "one two three four five six seven eight"}))
    stream = {"name": "s", "documents": ["corpus/documents/*"], "output": {"path": "output", "max_size_in_bytes": 1}}
    Path("mix.json").write_text(json.dumps({"streams": [stream]}))
    monkeypatch.setattr(documents, "MOST_PAST", 500)
    for module in (annotate, mix_reading):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    for name in ("SMALLEST_UNIT", "LARGEST_UNIT"):
        monkeypatch.setattr(token_units, name, 1000)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bomb_of_bad_lines_stops_the_run_before_its_end(
    name: str, bomb: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert execute([*COMMANDS[name], "--max-failed", "7"]) == 2
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "stopped before the end of the input: more than 507 records failed, 7 are allowed" in error[0]
    assert "corpus/documents/a.jsonl.gz, line 2" in error[0]
    (listed,) = bomb.rglob("*.quarantine.jsonl")
    rows = [json.loads(line) for line in listed.read_bytes().splitlines()]
    assert [row["line"] for row in rows] == list(range(2, 509))
    assert not list(bomb.rglob("manifest.json"))


def test_what_is_allowed_is_read_to_the_end(bomb: Path) -> None:
    assert execute([*COMMANDS["tag"], "--max-failed", "20000"]) == 0
    manifest = json.loads((bomb / "corpus/attributes/char_length_v1/manifest.json").read_bytes())
    assert [file["rows"] for file in manifest["files"]] == [20_001, 1, 1, 1]
