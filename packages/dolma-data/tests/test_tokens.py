"""Token files: order, layout, and that nothing of the text changes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.documents import find_documents
from dolma_data.files import digest, digest_file
from dolma_data.tokens.parts import cut_into_files, plan_pieces
from dolma_data.tokens.pieces import Piece
from dolma_data.tokens.tokenizer import load_tokenizer
from dolma_data.tokens.units import read_units

TEXTS = [f"Document {i} says: " + "the quick brown fox " * (i % 7) for i in range(40)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    from dolma_data.cli import execute

    root = tmp_path_factory.mktemp("tokenizer")
    rows = [json.dumps({"id": str(i), "text": text, "source": "s"}) for i, text in enumerate(TEXTS)]
    (root / "a.jsonl").write_text("\n".join(rows))
    arguments = ["train-tokenizer", "--documents", str(root / "a.jsonl"), "--vocab-size", "300"]
    assert execute([*arguments, "--output", str(root / "tok")]) == 0
    return root / "tok"


@pytest.fixture
def corpus(write_documents) -> Path:
    """Forty documents in four files, one of them blank."""
    for start in range(0, 40, 10):
        rows = [{"id": f"ä{i}", "text": TEXTS[i], "source": "s"} for i in range(start, start + 10)]
        root = write_documents(rows, f"{start:02d}.jsonl.gz")
    return write_documents([{"id": "blank", "text": " ", "source": "s"}], "blank.jsonl", root=root.name)


def read_tokens(root: Path) -> list[dict[str, Any]]:
    """Every document of the artifact in reading order."""
    manifest = json.loads((root / "manifest.json").read_bytes())
    documents = []
    for number, file in enumerate(manifest["files"]):
        ids = np.fromfile(root / file["path"], dtype=manifest["dtype"])
        assert len(ids) == file["tokens"]
        with gzip.open((root / file["path"]).with_suffix(".csv.gz"), "rt", newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        assert len(rows) == file["documents"]
        at = 0
        for row, (start, end, identifier, source, line) in enumerate(rows):
            assert int(start) == at
            at = int(end)
            place = {"file": number, "row": row, "start": int(start)}
            documents.append({"id": identifier, "src": source, "loc": int(line), "ids": ids[int(start) : at], **place})
        assert at == len(ids)
    return documents


def test_layout_and_content(dolma, corpus, tokenizer, tmp_path):
    out = tmp_path / "tokens"
    arguments = ("tokens", "--documents", corpus, "--destination", out, "--tokenizer.name-or-path", tokenizer)
    assert dolma(*arguments, "--max-size", 200) == 0
    documents = read_tokens(out)
    bpe = load_tokenizer(tokenizer / "tokenizer.json")
    assert sorted(document["id"] for document in documents) == sorted(f"ä{i}" for i in range(40))
    for document in documents:
        number = int(document["id"][1:])
        assert document["src"] == f"documents/{number // 10 * 10:02d}.jsonl.gz"
        assert document["loc"] == number % 10 + 1
        assert document["ids"][-1] == 0
        assert 0 not in document["ids"][:-1]
        assert bpe.decode(document["ids"][:-1].tolist(), skip_special_tokens=False) == TEXTS[number]
    manifest = json.loads((out / "manifest.json").read_bytes())
    files = manifest.pop("files")
    lines = "".join(f"{file['path']}\0{file['tokens']}\0{digest_file(out / file['path'])}\n" for file in files)
    assert manifest == {
        "artifact": "tokens",
        "format_version": 1,
        "dtype": "uint16",
        "vocab_size": 300,
        "eos_token_id": 0,
        "pad_token_id": 1,
        "bos_token_id": None,
        "max_token_id": max(int(document["ids"].max()) for document in documents),
        "tokenizer_digest": digest_file(tokenizer / "tokenizer.json"),
        "tokens": sum(len(document["ids"]) for document in documents),
        "documents": 40,
        "counts": {"read": 41, "kept": 40, "dropped": 1, "failed": 0},
        "fingerprint": "sha256:" + hashlib.sha256(lines.encode()).hexdigest(),
    }
    assert len(files) > 3
    assert all(file["tokens"] <= 200 for file in files)
    assert [file["path"] for file in files] == [f"part-0-{i:05d}.npy" for i in range(len(files))]
    assert (out / "tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()
    names = {path.name for path in out.iterdir()}
    parts = {name for file in files for name in (file["path"], file["path"].replace(".npy", ".csv.gz"))}
    assert names == parts | {"manifest.json", "tokenizer.json", "documents.idx", "provenance"}


@pytest.mark.parametrize("documents_together", [7, 1000])
def test_the_index_finds_every_document(dolma, corpus, tokenizer, tmp_path, monkeypatch, documents_together):
    monkeypatch.setattr("dolma_data.tokens.parts.RANGE_DOCUMENTS", documents_together)
    out = tmp_path / "tokens"
    arguments = ("tokens", "--documents", corpus, "--destination", out, "--tokenizer.name-or-path", tokenizer)
    assert dolma(*arguments, "--max-size", 300) == 0
    raw = (out / "documents.idx").read_bytes()
    records = [raw[at : at + 24] for at in range(0, len(raw), 24)]
    fields = [
        tuple(int.from_bytes(record[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 16), (16, 24)))
        for record in records
    ]
    assert fields == sorted(fields)
    assert sorted(fields) == sorted(
        (
            int.from_bytes(hashlib.sha256(document["id"].encode()).digest()[:8], "little"),
            document["file"],
            document["row"],
            document["start"],
        )
        for document in read_tokens(out)
    )


def place(*numbers: int) -> int:
    """SplitMix64 over seed, file and line, in Python's whole numbers."""
    state, *rest = numbers
    for number in rest:
        state = (state + 0x9E3779B97F4A7C15 * (number + 1)) % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state


def test_a_unit_has_a_bounded_number_of_lines(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_bytes(b"\n" * 50)
    (tmp_path / "b.jsonl").write_bytes(b"x\n" * 3)
    monkeypatch.setattr("dolma_data.reading.MOST_ROWS", 4)
    monkeypatch.setattr("dolma_data.tokens.units.MOST_UNIT_ROWS", 8)
    units = list(read_units(find_documents([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]), 1000))
    assert [sum(block.rows for _, block in unit.blocks) for unit in units] == [8, 8, 8, 8, 8, 8, 5]
    assert [unit.number for unit in units] == list(range(7))


def test_order_depends_on_the_seed_alone(dolma, corpus, tokenizer, contents, tmp_path, monkeypatch):
    monkeypatch.setattr("dolma_data.tokens.writer.SMALL_CORPUS", 0)
    monkeypatch.setattr("dolma_data.tokens.units.SMALLEST_UNIT", 500)
    monkeypatch.setattr("dolma_data.tokens.parts.RANGE_DOCUMENTS", 7)
    assert len(list(read_units(find_documents([corpus]), 500))) > 5
    orders = {}
    for name, options in {"one": ("--processes", 1), "two": ("--processes", 2), "seed": ("--seed", 1)}.items():
        out = tmp_path / name
        arguments = ("tokens", "--documents", corpus, "--destination", out, "--tokenizer.name-or-path", tokenizer)
        assert dolma(*arguments, *options) == 0
        orders[name] = [document["id"] for document in read_tokens(out)]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert orders["one"] != orders["seed"]
    assert sorted(orders["one"]) == sorted(orders["seed"])
    expected = sorted(range(40), key=lambda i: place(3920, i // 10, i % 10 + 1))
    assert orders["one"] == [f"ä{i}" for i in expected]


def test_special_tokens_in_the_text_stay_text(dolma, write_documents, tokenizer, tmp_path):
    text = "before <|endoftext|> and <|padding|> after"
    root = write_documents([{"id": "1", "text": text, "source": "s"}])
    out = tmp_path / "tokens"
    assert dolma("tokens", "--documents", root, "--destination", out, "--tokenizer.name-or-path", tokenizer) == 0
    (document,) = read_tokens(out)
    assert not {0, 1} & set(document["ids"][:-1].tolist())
    bpe = load_tokenizer(tokenizer / "tokenizer.json")
    assert bpe.decode(document["ids"][:-1].tolist(), skip_special_tokens=False) == text


@given(st.lists(st.lists(st.integers(1, 50)), min_size=1), st.integers(1, 60))
def test_files_hold_whole_documents_up_to_the_size(chunks, max_size):
    lengths = [length for chunk in chunks for length in chunk]
    cuts = cut_into_files((np.array(chunk, dtype=np.int64) for chunk in chunks), max_size)
    pieces = [lengths[cut] for cut in cuts]
    assert [length for piece in pieces for length in piece] == lengths
    assert all(sum(piece) <= max_size or len(piece) == 1 for piece in pieces)
    for piece, following in pairwise(pieces):
        assert sum(piece) + following[0] > max_size  # no file ends early


def test_pieces_say_where_their_documents_stand():
    ranges = [np.array(lengths) for lengths in ([3, 2, 9, 1], [4], [2, 2])]
    found = list(plan_pieces(ranges, [slice(0, 3), slice(3, 7)], 5))
    assert found == [
        Piece(0, part=0, range=0, start=0, end=2, row=0, token=0, tokens=5),
        Piece(1, part=0, range=0, start=2, end=3, row=2, token=5, tokens=9),
        Piece(2, part=1, range=0, start=3, end=4, row=0, token=0, tokens=1),
        Piece(3, part=1, range=1, start=0, end=1, row=1, token=1, tokens=4),
        Piece(4, part=1, range=2, start=0, end=2, row=2, token=5, tokens=4),
    ]


@given(st.lists(st.lists(st.integers(1, 50), min_size=1), min_size=1), st.integers(1, 60), st.integers(1, 60))
def test_pieces_are_the_files(chunks, max_size, size):
    lengths = [np.array(chunk, dtype=np.int64) for chunk in chunks]
    cuts = cut_into_files(lengths, max_size)
    pieces = list(plan_pieces(lengths, cuts, size))
    taken = [(piece.range, document) for piece in pieces for document in range(piece.start, piece.end)]
    assert taken == [(number, document) for number, chunk in enumerate(chunks) for document in range(len(chunk))]
    for number, cut in enumerate(cuts):
        row = token = 0
        for piece in (piece for piece in pieces if piece.part == number):
            held = chunks[piece.range][piece.start : piece.end]
            assert (piece.row, piece.token, piece.tokens) == (row, token, sum(held))
            assert piece.tokens <= size or len(held) == 1
            row, token = row + len(held), token + sum(held)
        assert row == cut.stop - cut.start


def unpacked(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with their tables unpacked."""
    return {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in files.items()}


@pytest.mark.parametrize("max_size", [200, 1 << 30])
def test_many_pieces_of_a_file_are_the_bytes_of_one_piece(
    dolma, corpus, tokenizer, contents, tmp_path, monkeypatch, max_size
):
    monkeypatch.setattr("dolma_data.tokens.writer.SMALL_CORPUS", 0)
    monkeypatch.setattr("dolma_data.tokens.units.SMALLEST_UNIT", 500)
    arguments = ("tokens", "--documents", corpus, "--tokenizer.name-or-path", tokenizer, "--max-size", max_size)
    assert dolma(*arguments, "--destination", tmp_path / "whole") == 0
    monkeypatch.setattr("dolma_data.tokens.parts.SMALLEST_PIECE", 60)
    for processes in (1, 2, 3):
        out = tmp_path / f"pieces-{processes}"
        assert dolma(*arguments, "--destination", out, "--processes", processes) == 0
        found, whole = unpacked(contents(out)), unpacked(contents(tmp_path / "whole"))
        assert found == whole
        assert contents(out) == contents(tmp_path / "pieces-1")


def test_record_states_the_digests_of_the_files_as_they_lie(dolma, corpus, tokenizer, tmp_path):
    out = tmp_path / "tokens"
    arguments = ("tokens", "--documents", corpus, "--destination", out, "--tokenizer.name-or-path", tokenizer)
    assert dolma(*arguments, "--max-size", 300) == 0
    (record,) = (json.loads(path.read_bytes()) for path in (out / "provenance").iterdir())
    assert record["outputs"] == {str(out): digest(out)}
    assert record["inputs"] == {path: digest(path) for path in record["inputs"]}
    assert len(record["inputs"]) == 6


def test_killed_and_run_again_gives_the_same_bytes(dolma, write_documents, tokenizer, contents, tmp_path):
    rows = [{"id": str(i), "text": f"{i} {' '.join(TEXTS)} " * 20, "source": "s"} for i in range(60)]
    root = write_documents(rows)
    arguments = ["tokens", "--documents", str(root), "--tokenizer.name-or-path", str(tokenizer), "--destination"]
    command = [sys.executable, "-c", "from dolma_data.cli import main; main()", *arguments, str(tmp_path / "killed")]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed.progress.partial/0.json").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.005)
    running.kill()
    running.wait()
    assert not (tmp_path / "killed").exists()
    assert dolma(*arguments, tmp_path / "killed") == 0
    assert dolma(*arguments, tmp_path / "whole") == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob("*.partial"))


def test_documents_need_no_source_and_have_their_row_in_the_tables(dolma, write_documents, tokenizer, tmp_path):
    rows = [{"id": "none", "text": "a"}, {"id": "null", "text": "b", "source": None}]
    rows += [{"id": "number", "text": "c", "source": 5}, {"id": "text", "text": "d", "source": "s"}]
    root = write_documents(rows)
    out = tmp_path / "tokens"
    assert dolma("tokens", "--documents", root, "--destination", out, "--tokenizer.name-or-path", tokenizer) == 0
    with gzip.open(out / "part-0-00000.csv.gz", "rt", newline="") as stream:
        listed = {row[2]: int(row[4]) for row in csv.reader(stream)}
    assert listed == {"none": 1, "null": 2, "number": 3, "text": 4}


def test_bad_lines_fail_unless_allowed_and_are_listed(dolma, write_documents, tokenizer, read_jsonl, tmp_path, capsys):
    root = write_documents([{"id": "1", "text": "x", "source": "s"}, b"{"])
    out = tmp_path / "tokens"
    arguments = ("tokens", "--documents", root, "--destination", out, "--tokenizer.name-or-path", tokenizer)
    assert dolma(*arguments) == 2
    assert "a.jsonl.gz, line 2" in capsys.readouterr().err
    assert not out.exists()
    assert dolma(*arguments, "--max-failed", 1) == 0
    assert json.loads((out / "manifest.json").read_bytes())["counts"] == {
        "read": 2,
        "kept": 1,
        "dropped": 0,
        "failed": 1,
    }
    assert [row["line"] for row in read_jsonl(out / "quarantine.jsonl")] == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dtype", "uint32"), "give uint16"),
        (("--tokenizer.eos-token-id", 300), "300 is no id"),
        (("--max-size", 0), "max_size is 0"),
        (("--tokenizer.name-or-path", "nowhere"), "no such tokenizer"),
        (("--tokenizer.name-or-path", "NOT_ONE"), "not a tokenizer"),
        (("--documents", "nowhere"), "no such file"),
    ],
)
def test_what_does_not_go_together_is_refused(dolma, corpus, tokenizer, tmp_path, capsys, options, message):
    (tmp_path / "other.json").write_text("{}")
    given = {"--documents": corpus, "--tokenizer.name-or-path": tokenizer, "--destination": tmp_path / "out"}
    given |= dict([options])
    arguments = [tmp_path / "other.json" if value == "NOT_ONE" else value for pair in given.items() for value in pair]
    assert dolma("tokens", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_documents_without_text_are_refused(dolma, write_documents, tokenizer, tmp_path, capsys):
    root = write_documents([{"id": "1", "text": "", "source": "s"}])
    arguments = ("--destination", tmp_path / "out", "--tokenizer.name-or-path", tokenizer)
    assert dolma("tokens", "--documents", root, *arguments) == 2
    assert "no document has any text" in capsys.readouterr().err


def test_special_ids_must_be_given_where_no_name_is_known(dolma, corpus, tmp_path, capsys):
    output = tmp_path / "odd"
    names = ("--eos-token", "<END>", "--pad-token", "<FILL>")
    assert dolma("train-tokenizer", "--documents", corpus, "--vocab-size", 280, "--output", output, *names) == 0
    arguments = ("tokens", "--documents", corpus, "--destination", tmp_path / "out", "--tokenizer.name-or-path", output)
    assert dolma(*arguments) == 2
    assert "give --tokenizer.eos-token-id" in capsys.readouterr().err
    assert dolma(*arguments, "--tokenizer.eos-token-id", 0, "--tokenizer.pad-token-id", 1) == 0


def test_two_artifacts_with_equal_file_names_are_told_apart(dolma, write_documents, tokenizer, tmp_path):
    roots = [write_documents([{"id": "1", "text": "x", "source": name}], root=name) for name in "ab"]
    out = tmp_path / "out"
    assert dolma("tokens", "--documents", *roots, "--destination", out, "--tokenizer.name-or-path", tokenizer) == 0
    assert {document["src"] for document in read_tokens(out)} == {
        "a/documents/a.jsonl.gz",
        "b/documents/a.jsonl.gz",
    }


@pytest.mark.parametrize(
    ("name", "dtype", "eos", "pad"),
    [
        ("allenai_eleuther-ai-gpt-neox-20b-pii-special.json", "uint16", 0, 1),
        ("allenai_gpt-neox-olmo-dolma-v1_5.json", "uint16", 50279, 1),
        ("allenai_dolma2.json", "uint32", 100257, 100277),
    ],
)
def test_tokenizers_of_the_olmo_models(dolma, write_documents, data_dir, tmp_path, name, dtype, eos, pad):
    root = write_documents([{"id": "1", "text": "Hello world!", "source": "s"}])
    path = data_dir / "tokenizers" / name
    out = tmp_path / "out"
    assert dolma("tokens", "--documents", root, "--destination", out, "--tokenizer.name-or-path", path) == 0
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert (manifest["dtype"], manifest["eos_token_id"], manifest["pad_token_id"]) == (dtype, eos, pad)
    (document,) = read_tokens(out)
    hello = [9906, 1917, 0] if dtype == "uint32" else [12092, 1533, 2]
    assert document["ids"].tolist() == [*hello, eos]
