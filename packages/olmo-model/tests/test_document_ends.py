"""Bare token files whose ids say that the settings or the tokenizer are not theirs."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ranks import on_ranks
from tokenizers import Tokenizer

from olmo_model import id_check
from olmo_model.cli import app
from olmo_model.command_line import run as run_command
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.errors import UserError
from olmo_model.id_check import check_ids
from olmo_model.ranks import joined
from olmo_model.raw_tokens import open_tokens

OLMO_V1 = "allenai_gpt-neox-olmo-dolma-v1_5.json"  # ends documents in 50279
SWAPPED = "allenai_eleuther-ai-gpt-neox-20b-pii-special.json"  # in 0
DOLMA2 = "allenai_dolma2.json"  # in 100257
LONGEST = 16


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder: Path, *files: list[int], dtype: str = "<u2") -> DataSettings:
    """Files of these ids, with the tokenizer of the fixture: ids 0 and 1 are its special ones."""
    for number, ids in enumerate(files):
        np.array(ids, dtype=dtype).tofile(folder / f"part-{number}.npy")
    return DataSettings(
        tokens=str(folder),
        files=tuple(f"part-{number}.npy" for number in range(len(files))),
        dtype="uint16" if dtype == "<u2" else "uint32",
        tokenizer=str(folder / "tokenizer.json"),
    )


@pytest.fixture
def folder(tmp_path, tokenizer_bytes) -> Path:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens/tokenizer.json").write_bytes(tokenizer_bytes)
    return tmp_path / "tokens"


def check(data: DataSettings, eos: int = 0, vocab_size: int = 300, pad: int = 1) -> None:
    check_ids(open_tokens(data, ModelSettings(vocab_size=vocab_size, eos_token_id=eos, pad_token_id=pad)), LONGEST)


def refused(data: DataSettings, *words: str, **settings: int) -> UserError:
    """The error, which has these words and names the way to say that it is meant; with that said there is none."""
    with pytest.raises(UserError) as found:
        check(data, **settings)
    for word in (*words, "with data.check_eos false the files are taken as they are"):
        assert word in str(found.value)
    check(dataclasses.replace(data, check_eos=False), **settings)
    return found.value


DOCUMENT = list(range(5, 12))


def test_a_file_without_the_end_of_a_document_is_refused_by_name(folder):
    error = refused(
        write(folder, [*DOCUMENT, 0] * 3, [*DOCUMENT] * 3),
        "id 0, which model.eos_token_id says ends a document, is not among its 21 ids (",
        "check model.eos_token_id and the file;",
    )
    assert error.where == str(folder / "part-1.npy")


def test_what_is_no_longer_than_a_context_may_lack_an_end_and_a_single_document_needs_one_alone(folder):
    check(write(folder, [*DOCUMENT, *DOCUMENT], DOCUMENT * 9 + [0], [*DOCUMENT * 9, 0, 1, 1]))


def test_ids_in_pieces_are_counted_over_all_of_a_file(folder, monkeypatch):
    monkeypatch.setattr(id_check, "LOOKED_AT", 5)
    check(write(folder, [*DOCUMENT * 3, 0, *DOCUMENT * 3]))
    refused(write(folder, DOCUMENT * 6), "is not among its 42 ids")


def counted(place: str) -> list[str]:
    """What is said of two files that have the end of a document, and of one that has none, read in small pieces."""
    data = DataSettings(tokens=place, files=("part-0.npy", "part-1.npy"), tokenizer=f"{place}/tokenizer.json")
    model = ModelSettings(vocab_size=300, eos_token_id=0, pad_token_id=1)
    said = []
    with pytest.MonkeyPatch.context() as patch, joined("cpu") as ranks:
        patch.setattr(id_check, "LOOKED_AT", 5)
        check_ids(open_tokens(data, model), LONGEST, ranks)
        try:
            check_ids(open_tokens(dataclasses.replace(data, files=("part-2.npy",)), model), LONGEST, ranks)
        except (UserError, SystemExit) as end:
            said.append(str(end))
    return said


def test_several_ranks_count_together(folder):
    write(folder, [*DOCUMENT * 3, 0, *DOCUMENT * 3], [*DOCUMENT * 6, 0], DOCUMENT * 6)
    (first,), second = on_ranks(2, counted, str(folder))
    assert "is not among its 42 ids" in first
    assert second == ["2"]


def test_the_files_ends_tell_the_right_id_before_any_look(folder, monkeypatch):
    """Id 0 is the tokenizer's end of a document; 1 occurs, and is special, but ends no file."""
    monkeypatch.setattr(id_check, "_look", None)
    data = write(folder, [*DOCUMENT, 1, *DOCUMENT, 0], [*DOCUMENT * 2, 0], [1, *DOCUMENT])
    refused_before = "no file ends in id 1, which model.eos_token_id says ends a document, but 2 of 3 in id 0 (<|endoft"
    with pytest.raises(UserError) as found:
        check(data, eos=1, pad=2)
    assert refused_before in str(found.value)
    assert "set model.eos_token_id to 0;" in str(found.value)
    assert found.value.where == str(folder / "part-0.npy")


def test_padding_behind_the_last_document_is_no_end_of_one(folder):
    check(write(folder, [*DOCUMENT, 0, *DOCUMENT, 0, 1]))


def test_a_piece_of_text_is_no_end_of_a_document(folder, tokenizer):
    refused(
        write(folder, [*DOCUMENT, 9]),
        f"the tokenizer has a piece of text at id 9, {tokenizer.id_to_token(9)!r}, which model.eos_token_id says",
        "; its own id for that is 0 (<|endoftext|>)",
        eos=9,
    )
    refused(write(folder, [*DOCUMENT, 400]), "the tokenizer has no id 400", eos=400, vocab_size=500)


def test_a_tokenizer_of_another_vocabulary_is_refused(folder):
    """It has more ids than the model, or the data have more than it."""
    data = write(folder, [*DOCUMENT, 0])
    refused(data, "the tokenizer has ids up to 299, not below model.vocab_size 250", vocab_size=250)
    error = refused(
        write(folder, [*DOCUMENT, 0], [5, 340, 0]), "token 1 is id 340, beyond the tokenizer's 299", vocab_size=500
    )
    assert error.where == str(folder / "part-1.npy")
    with pytest.raises(UserError, match="token 1 is id 340"):  # what is remembered is checked as well
        check(write(folder, [*DOCUMENT, 0], [5, 340, 0]), vocab_size=500)


def test_what_is_remembered_is_remembered_for_one_end_and_one_length(folder):
    data = write(folder, DOCUMENT * 3)
    model = ModelSettings(vocab_size=300, eos_token_id=0, pad_token_id=1)
    check_ids(open_tokens(data, model), 21)
    with pytest.raises(UserError, match="is not among its 21 ids"):
        check_ids(open_tokens(data, model), 20)


def test_nothing_is_written_before(folder, tmp_path, capsys):
    model = {
        "preset": "olmo-1m", "d_model": 32, "n_heads": 2, "n_layers": 1, "mlp_hidden_size": 128,
        "max_sequence_length": 16, "vocab_size": 300, "eos_token_id": 0, "pad_token_id": 1,
    }  # fmt: skip
    data = dataclasses.asdict(write(folder, DOCUMENT * 40))
    tree = {
        "save_folder": str(tmp_path / "run"),
        "data": {key: data[key] for key in ("tokens", "files", "tokenizer")},
        "model": model,
        "global_batch_size": 1,
        "max_duration": 1,
        "scheduler": {"warmup": 0},
        "report_interval": None,
    }
    (tmp_path / "config.yaml").write_text(json.dumps(tree))
    line = ["train", str(tmp_path / "config.yaml")]
    assert run_command(app, line, positional_config=frozenset({"train"})) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
    assert run_command(app, [*line, "--data.no-check-eos"], positional_config=frozenset({"train"})) == 0
    assert (tmp_path / "run/step1").is_dir()


@pytest.fixture
def real() -> Path:
    data = os.environ.get("DATA_DIR")
    if data is None:
        pytest.skip("DATA_DIR is not set")
    return Path(data) / "tokenizers"


@pytest.mark.parametrize(
    ("made", "given", "eos", "words"),
    [
        (OLMO_V1, OLMO_V1, 50279, ()),
        (OLMO_V1, OLMO_V1, 0, ("2 of 2 in id 50279 (<|endoftext|>) (two tokenizers of OLMo v1 swap",)),
        (SWAPPED, SWAPPED, 50279, ("in id 0 (<|endoftext|>) (two tokenizers", "set model.eos_token_id to 0;")),
        (OLMO_V1, SWAPPED, 0, ("in id 50279 (|||IP_ADDRESS|||) (two tokenizers", "set model.eos_token_id to 50279;")),
        (OLMO_V1, OLMO_V1, 50256, ("in id 50279 (<|endoftext|>)",)),  # a run of spaces
        (OLMO_V1, OLMO_V1, 1, ("in id 50279 (<|endoftext|>)",)),
        (OLMO_V1, OLMO_V1, 510, ("a piece of text at id 510, 'The'", "id for that is 0 (|||IP", "50279 (<|end")),
        (OLMO_V1, OLMO_V1, 50280, ("the tokenizer has no id 50280",)),
        (OLMO_V1, DOLMA2, 50279, ("the tokenizer has ids up to 100277, not below model.vocab_size 50280",)),
        (DOLMA2, DOLMA2, 100257, ()),
        (DOLMA2, DOLMA2, 50279, ("a piece of text at id 50279",)),
        (DOLMA2, DOLMA2, 100277, ("in id 100257 (<|endoftext|>)", "set model.eos_token_id to 100257;")),
        (DOLMA2, OLMO_V1, 50279, ("is id ", "not below vocab_size 50280")),
    ],
)  # fmt: skip
def test_real_tokenizers_and_the_ids_that_are_taken_for_each_other(real, tmp_path, made, given, eos, words):
    tokenizer = Tokenizer.from_file(str(real / made))
    texts = ["The cat sat on a mat. " * 3, "def main():\n    return 0\n", "An address: |||IP_ADDRESS|||.\n"] * 4
    own = tokenizer.token_to_id("<|endoftext|>")
    ids = [number for text in texts for number in (*tokenizer.encode(text).ids, own)]
    data = write(tmp_path, ids, [*ids[:80], own], dtype="<u2" if max(ids) < 1 << 16 else "<u4")
    data = dataclasses.replace(data, tokenizer=str(real / given))
    size = 100278 if given == DOLMA2 and made == DOLMA2 else 50280
    pad = 2 if 1 in (eos, own) else 1
    if not words:
        check(data, eos=eos, vocab_size=size, pad=pad)
        return
    with pytest.raises(UserError) as found:
        check(data, eos=eos, vocab_size=max(size, eos + 1), pad=pad)
    for word in words:
        assert word in str(found.value)


def test_a_file_of_another_tokenizer_among_others_is_found_by_what_never_occurs(real, tmp_path):
    """Its last document is cut off, so that its last id tells nothing."""
    tokenizer = Tokenizer.from_file(str(real / OLMO_V1))
    text = tokenizer.encode("The cat sat on a mat. " * 3).ids
    data = write(tmp_path, [*text, 50279] * 3, [*text, 0, *text, 0, *text])
    data = dataclasses.replace(data, tokenizer=str(real / OLMO_V1))
    error = refused(
        data,
        "is not among its 68 ids; id 0 (|||IP_ADDRESS|||) is (two tokenizers of OLMo v1 swap",
        "set model.eos_token_id to 0;",
        eos=50279,
        vocab_size=50280,
    )
    assert error.where == str(tmp_path / "part-1.npy")


def test_data_that_are_right_beside_the_swapped_tokenizer_are_told_and_taken(real, tmp_path, caplog):
    """As OLMo's own file for its 1B model has it."""
    data = dataclasses.replace(write(tmp_path, [*DOCUMENT, 50279] * 3), tokenizer=str(real / SWAPPED))
    check(data, eos=50279, vocab_size=50280)
    (told,) = caplog.messages
    assert told.startswith("the files end documents in id 50279 (|||IP_ADDRESS|||), the tokenizer ")
    assert told.endswith(" in 0 (<|endoftext|>); `olmo-model convert` mends a checkpoint's")
    caplog.clear()
    check(dataclasses.replace(data, tokenizer=str(real / OLMO_V1)), eos=50279, vocab_size=50280)
    assert not caplog.messages
