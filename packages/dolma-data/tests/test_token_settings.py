"""Settings of ``tokens``: Dolma's keys, each with its effect."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dolma_data.tokens.byte_pairs import UnsupportedTokenizerError
from dolma_data.tokens.tokenizer import load_tokenizer, tokenizer_file

EOS, PAD = 0, 1
TEXT = "The cat sat.\n\nThe  dog ran <|endoftext|> away. "


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    from dolma_data.cli import execute

    root = tmp_path_factory.mktemp("tokenizer")
    (root / "a.jsonl").write_text(json.dumps({"id": "1", "text": TEXT * 3, "source": "s"}))
    arguments = ["train-tokenizer", "--documents", str(root / "a.jsonl"), "--vocab-size", "270"]
    assert execute([*arguments, "--output", str(root / "tok")]) == 0
    return root / "tok"


@pytest.fixture
def encode(dolma, write_documents, tokenizer, tmp_path):
    """Run ``tokens`` over rows; returns ``{(source path, line): (id, ids)}`` and the manifest."""

    def run(rows: list[Any], *options: object, given: bool = True) -> tuple[dict[int, tuple[str, list[int]]], Any]:
        root = write_documents(rows, "a.jsonl")
        out = tmp_path / "out"
        arguments = ["tokens", "--documents", root, "--destination", out, *options]
        assert dolma(*arguments, *(("--tokenizer.name-or-path", tokenizer) if given else ())) == 0
        manifest = json.loads((out / "manifest.json").read_bytes())
        found = {}
        for file in manifest["files"]:
            ids = np.fromfile(out / file["path"], dtype=manifest["dtype"])
            with gzip.open((out / file["path"]).with_suffix(".csv.gz"), "rt", newline="", encoding="utf-8") as table:
                for start, end, name, _, line in csv.reader(table):
                    found[int(line)] = (name, ids[int(start) : int(end)].tolist())
        return found, manifest

    return run


@pytest.fixture
def ids(tokenizer):
    """Ids of a text as the library gives them."""
    library = load_tokenizer(tokenizer / "tokenizer.json")
    return lambda text: library.encode(text, add_special_tokens=False).ids


def row(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "x", "text": text, "source": "s"} | more


def test_text_is_encoded_as_it_stands(encode, ids):
    found, manifest = encode([row(TEXT)])
    assert found == {1: ("x", [*ids(TEXT), EOS])}
    assert "compat" not in manifest


def test_compat_strips_the_text_and_takes_special_tokens_in_it_for_tokens(encode, ids):
    found, manifest = encode([row(f" {TEXT}"), row(" <|endoftext|>\n")], "--compat", "dolma")
    before, after = "The cat sat.\n\nThe  dog ran ", " away."
    assert found == {1: ("x", [*ids(before), EOS, *ids(after), EOS]), 2: ("x", [EOS])}
    assert manifest["compat"] == "dolma"
    found, _ = encode([row(f" {TEXT}")], "--compat", "dolma", "--tokenizer.encode-special-tokens")
    assert found == {1: ("x", [*ids(TEXT.strip()), EOS])}


def test_special_tokens_asked_for_without_compat_stay_text_and_a_line_says_so(encode, ids, caplog):
    found, _ = encode([row(TEXT)], "--tokenizer.no-encode-special-tokens")
    assert found == {1: ("x", [*ids(TEXT), EOS])}
    assert "--compat dolma makes it the token" in caplog.text


def test_a_beginning_is_put_where_it_is_not_there(encode, ids):
    [the] = ids("T")
    found, manifest = encode([row("The"), row("a cat")], "--tokenizer.bos-token-id", the)
    assert manifest["bos_token_id"] == the
    assert found[1] == ("x", [*([] if ids("The")[0] == the else [the]), *ids("The"), EOS])
    assert found[2] == ("x", [the, *ids("a cat"), EOS])


def test_lines_can_be_encoded_one_by_one(encode, ids):
    found, _ = encode([row("a  \n\n  b\nc")], "--tokenizer.segment-before-tokenization")
    assert found == {1: ("x", [*ids("a  "), *ids("\n\n  b"), *ids("\nc"), EOS])}


def test_another_end_of_text_than_the_tokenizer_s_own_is_told(encode, ids, caplog):
    found, _ = encode([{"id": "1", "text": "a"}], "--tokenizer.eos-token-id", PAD)
    assert found[1] == ("1", [*ids("a"), PAD])
    assert "eos_token_id is 1, '<|padding|>'; the tokenizer's own end of text is 0, '<|endoftext|>'" in caplog.text
    caplog.clear()
    encode([{"id": "1", "text": "a"}], "--tokenizer.eos-token-id", EOS, "--tokenizer.pad-token-id", EOS)
    assert not caplog.text.count("end of text")


def test_the_old_key_takes_the_last_id_for_the_end_of_text(encode, ids, tokenizer):
    found, manifest = encode([row("a cat")], "--tokenizer-name-or-path", tokenizer, given=False)
    assert found == {1: ("x", [*ids("a cat"), 269])}
    assert (manifest["eos_token_id"], manifest["pad_token_id"]) == (269, 269)


def test_text_and_id_stand_in_other_fields(encode, ids):
    fields = (
        "--fields.text-field-name",
        "body.raw text",
        "--fields.id-field-name",
        "meta.n",
        "--fields.id-field-type",
        "int",
    )
    rows = [{"body": {"raw text": "a cat"}, "meta": {"n": 7}}]
    assert encode(rows, *fields)[0] == {1: ("7", [*ids("a cat"), EOS])}


def test_without_an_id_the_path_and_line_are_one(dolma, write_documents, tokenizer, tmp_path):
    root = write_documents([{"text": "a"}], "a.jsonl")
    (tmp_path / "c.yaml").write_text("fields: {id_field_name: null}\n")
    path = root / "documents/a.jsonl"
    arguments = ("--documents", path, "--destination", tmp_path / "out", "--tokenizer.name-or-path", tokenizer)
    assert dolma("tokens", "-c", tmp_path / "c.yaml", *arguments) == 0
    table = gzip.decompress((tmp_path / "out/part-0-00000.csv.gz").read_bytes()).decode()
    assert table.split(",")[2] == hashlib.sha256(str(path).encode()).hexdigest() + "-1"
    assert table.endswith(",1\r\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "blank line"),
        (b"{", "not JSON"),
        (b'{"id": "1"}', "missing required field `text`"),
        (b'{"id": 1, "text": "a"}', "expected `str`, got `int` - at `$.id`"),
        (b'{"id": "1", "text": "\xff"}', "invalid UTF-8"),
    ],
)
def test_unusable_lines_say_why(encode, read_jsonl, tmp_path, line, reason):
    found, manifest = encode([line, row("a")], "--max-failed", 1)
    assert list(found) == [2]
    assert manifest["counts"] == {"read": 2, "kept": 1, "dropped": 0, "failed": 1}
    [failure] = read_jsonl(tmp_path / "out/quarantine.jsonl")
    assert failure["line"] == 1
    assert reason in failure["reason"]


def test_a_document_longer_than_a_file_has_one_of_its_own(encode, ids):
    long = "cat " * 500
    found, manifest = encode([row("a"), row(long), row("b"), row("x" * 3000)], "--max-size", 10)
    assert {line: len(document) for line, (_, document) in found.items()} == {
        1: 2,
        2: len(ids(long)) + 1,
        3: 2,
        4: len(ids("x" * 3000)) + 1,
    }
    assert [file["documents"] for file in manifest["files"] if file["tokens"] > 10] == [1, 1]


def test_a_tokenizer_of_another_shape_is_left_to_the_library(encode, ids, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise UnsupportedTokenizerError("odd parts")

    monkeypatch.setattr("dolma_data.tokens.byte_pairs.compile_tables", refuse)
    found, _ = encode([row(TEXT), row("a")])
    assert found == {1: ("x", [*ids(TEXT), EOS]), 2: ("x", [*ids("a"), EOS])}
    assert caplog.text.count("several times slower: the tokenizer has odd parts") == 1


def test_work_can_lie_elsewhere(encode, tmp_path, monkeypatch):
    from dolma_data.tokens import units as token_units

    whole = token_units.encode_unit
    scratch: list[Path] = []

    def encode_unit(unit, work):
        scratch.append(work.scratch)
        return whole(unit, work)

    monkeypatch.setattr(token_units, "encode_unit", encode_unit)
    encode([row("a")], "--work-dir.output", tmp_path / "scratch")
    assert scratch == [tmp_path / "scratch/out.progress.partial"]
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no tokenizer is given"),
        (("--tokenizer-name-or-path", "a", "--tokenizer.name-or-path", "b"), "given twice"),
        (("--tokenizer-name-or-path", "TOK", "--fields.id-field-name", "text"), "are the same field"),
        (("--tokenizer.name-or-path", "TOK", "--tokenizer.bos-token-id", 270), "270 is no id"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    dolma, write_documents, tokenizer, tmp_path, capsys, options, message
):
    root = write_documents([row("a")])
    given = [tokenizer if option == "TOK" else option for option in options]
    assert dolma("tokens", "--documents", root, "--destination", tmp_path / "out", *given) == 2
    assert message in capsys.readouterr().err


def test_a_name_that_the_hub_does_not_give_is_one_line(monkeypatch):
    from dolma_data.errors import UserError

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="the Hugging Face hub does not give it"):
        tokenizer_file("nobody/nothing-of-this-name")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(alphabet="ab \n<é\u0301", max_size=30), min_size=1, max_size=12), size=st.integers(1, 40))
def test_no_token_is_lost(encode, ids, tmp_path, texts, size):
    found, manifest = encode([row("anchor"), *map(row, texts)], "--max-size", size)
    expected = {line: [*ids(text), EOS] for line, text in enumerate(["anchor", *texts], 1) if text.strip()}
    assert {line: document for line, (_, document) in found.items()} == expected
    assert manifest["tokens"] == sum(map(len, expected.values())) == sum(file["tokens"] for file in manifest["files"])
    assert manifest["counts"] == {
        "read": len(texts) + 1,
        "kept": len(expected),
        "dropped": len(texts) + 1 - len(expected),
        "failed": 0,
    }


def test_finished_units_are_kept(dolma, write_documents, tokenizer, contents, tmp_path, monkeypatch):
    from dolma_data.tokens import units as token_units

    monkeypatch.setattr(token_units, "SMALLEST_UNIT", 300)
    root = write_documents([row(f"cat {k} " * 20, id=str(k)) for k in range(12)])
    arguments = ("tokens", "--documents", root, "--tokenizer.name-or-path", tokenizer, "--destination")
    assert dolma(*arguments, tmp_path / "whole") == 0
    whole = token_units.encode_unit
    encoded: list[int] = []

    def stop_at(last: int):
        def encode_some(unit, work):
            if unit.number == last:
                raise KeyboardInterrupt
            encoded.append(unit.number)
            return whole(unit, work)

        return encode_some

    monkeypatch.setattr(token_units, "encode_unit", stop_at(4))
    with pytest.raises(SystemExit):
        dolma(*arguments, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    scratch = tmp_path / "out.progress.partial"
    (scratch / "2.tokens").write_bytes(b"damaged")
    monkeypatch.setattr(token_units, "encode_unit", stop_at(-1))
    assert encoded == [0, 1, 2, 3]
    encoded.clear()
    assert dolma(*arguments, tmp_path / "out") == 0
    assert encoded[:2] == [2, 4]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not scratch.exists()
