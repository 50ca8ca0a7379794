"""What an output folder may take the place of."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from dolma_data import provenance
from dolma_data.config.extract import ExtractConfig
from dolma_data.config.tokens import TokenizerSettings, TokensConfig
from dolma_data.errors import UserError
from dolma_data.extract.extraction import extract
from dolma_data.files import atomic_artifact, write_json
from dolma_data.tokens.tokenizer import special_ids
from dolma_data.tokens.writer import tokens


def write_rows(path: Path, *texts: str) -> Path:
    rows = [{"id": str(number), "text": text, "source": "s"} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def add_attributes(corpus: Path) -> Path:
    file = corpus / "attributes" / "mine" / "a.jsonl.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress(b"{}\n"))
    return file


def test_an_output_that_would_replace_its_own_input_is_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    extract([str(write_rows(tmp_path / "a.jsonl", "one", "two"))], ExtractConfig(output=corpus))
    before = (corpus / "manifest.json").read_bytes()
    with pytest.raises(UserError, match="replace its own input"):
        extract([str(corpus / "documents")], ExtractConfig(output=corpus))
    assert (corpus / "manifest.json").read_bytes() == before


def test_extracting_the_same_documents_again_keeps_their_attributes(tmp_path: Path) -> None:
    corpus, rows = tmp_path / "corpus", write_rows(tmp_path / "a.jsonl", "one", "two")
    extract([str(rows)], ExtractConfig(output=corpus))
    file = add_attributes(corpus)
    extract([str(rows)], ExtractConfig(output=corpus))
    assert gzip.decompress(file.read_bytes()) == b"{}\n"


def test_attributes_of_other_documents_go_and_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = tmp_path / "corpus"
    extract([str(write_rows(tmp_path / "a.jsonl", "one", "two"))], ExtractConfig(output=corpus))
    file = add_attributes(corpus)
    extract([str(write_rows(tmp_path / "a.jsonl", "one", "three"))], ExtractConfig(output=corpus))
    assert not file.exists()
    assert "their attributes are removed: mine" in caplog.text


def test_the_padding_token_is_the_end_of_text_where_the_tokenizer_names_none() -> None:
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens(["<|other|>", "<|endoftext|>"])
    ids = special_ids(tokenizer, TokenizerSettings(name_or_path=Path("tokenizer.json")))
    assert (ids.vocab_size, ids.eos, ids.pad) == (2, 1, 1)


@pytest.mark.parametrize("output", ["", ".", "/"])
def test_an_output_without_a_name_is_refused(output: str) -> None:
    with pytest.raises(UserError, match="an output needs a name of its own"), atomic_artifact(output, "documents"):
        raise AssertionError("the block was entered")


def test_tokens_look_at_their_destination_before_the_documents(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    (tmp_path / "a.jsonl").write_text("no document\n")
    (tmp_path / "mine").write_text("mine")
    tokenizer = Tokenizer(models.WordLevel({"<|endoftext|>": 0}, "<|endoftext|>"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = TokenizerSettings(name_or_path=tmp_path)
    config = TokensConfig(documents=(str(tmp_path / "a.jsonl"),), destination=tmp_path / "mine", tokenizer=settings)
    with pytest.raises(UserError, match="exists and is not a tokens artifact"):
        tokens(config)
    assert (tmp_path / "mine").read_text() == "mine"


def test_an_output_set_aside_by_a_run_that_was_killed_is_there_again(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_artifact(target, "documents") as folder:
        write_json(folder / "manifest.json", {"artifact": "documents", "run": 1})
        write_json(folder / "provenance" / "first.json", {})
    target.rename(tmp_path / "out.replaced.partial")
    with atomic_artifact(target, "documents") as folder:
        assert json.loads((target / "manifest.json").read_text())["run"] == 1
        write_json(folder / "manifest.json", {"artifact": "documents", "run": 2})
    assert json.loads((target / "manifest.json").read_text())["run"] == 2
    assert (target / "provenance" / "first.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(text: str) -> str:
        raise OSError("no room")

    with (
        pytest.raises(OSError, match="no room"),
        provenance.recorded("dolma-data", "test", folder=tmp_path, config={}, spell=fail),
    ):
        pass
    assert not list(tmp_path.rglob("*.json*"))
    with provenance.recorded("dolma-data", "test", folder=tmp_path, config={}):
        pass
    (record,) = (tmp_path / "provenance").iterdir()
    assert json.loads(record.read_bytes())["command"] == "test"
