"""Training a tokenizer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.files import digest_file
from dolma_data.tokens.tokenizer import load_tokenizer

TEXT = "def f(x):\n    return x + 1  # the answer is 42, not 1234567\n" * 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from dolma_data.cli import execute

    root = tmp_path_factory.mktemp("tokenizer")
    (root / "a.jsonl").write_text(json.dumps({"id": "1", "text": TEXT + "<|endoftext|>", "source": "s"}))
    arguments = ["train-tokenizer", "--documents", str(root / "a.jsonl"), "--vocab-size", "280"]
    assert execute([*arguments, "--output", str(root / "tok")]) == 0
    assert execute([*arguments, "--output", str(root / "again")]) == 0
    return root / "tok"


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load_tokenizer(trained / "tokenizer.json")


def test_the_folder_says_what_it_is(trained):
    assert json.loads((trained / "manifest.json").read_bytes()) == {
        "artifact": "tokenizer",
        "format_version": 1,
        "vocab_size": 280,
        "eos_token": "<|endoftext|>",
        "eos_token_id": 0,
        "pad_token": "<|padding|>",
        "pad_token_id": 1,
        "digest": digest_file(trained / "tokenizer.json"),
        "documents": 1,
        "text_bytes": len(TEXT) + 13,
    }


def test_the_same_documents_give_the_same_bytes(trained, contents):
    assert contents(trained) == contents(trained.parent / "again")


def test_every_byte_has_an_id_and_ids_are_dense(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(280))
    assert sum(len(name) == 1 for name in vocabulary) == 256


@given(st.text())
def test_decoding_gives_the_text_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert not {0, 1} & set(ids)


def test_digits_are_cut_into_threes(tokenizer):
    encoding = tokenizer.encode("1234567")
    ends = {end for _, end in encoding.offsets}
    assert {3, 6, 7} <= ends


def test_transformers_loads_the_folder(trained):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(trained)
    assert (loaded.eos_token_id, loaded.pad_token_id, len(loaded)) == (0, 1, 280)
    assert loaded.decode(loaded(TEXT)["input_ids"]) == TEXT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--vocab-size", 257), "give 258 or more"),
        (("--vocab-size", 5000), "only "),
        (("--vocab-size", 260, "--eos-token", "<|padding|>"), "are the same"),
    ],
)
def test_what_cannot_be_trained_is_refused(dolma, write_documents, tmp_path, capsys, options, message):
    root = write_documents([{"id": "1", "text": "hello", "source": "s"}])
    assert dolma("train-tokenizer", "--documents", root, "--output", tmp_path / "tok", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tok").exists()
