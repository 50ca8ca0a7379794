import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paloma_ppl.config import WindowsConfig
from paloma_ppl.errors import UserError
from paloma_ppl.files import digest
from paloma_ppl.tokenizer import load_tokenizer
from paloma_ppl.windows import make_windows, write_windows

PREFIX = 9_999


def as_lists(
    documents: list[list[int]], keys: list[tuple[str, str]], length: int, name: str
) -> list[tuple[list[int], list[tuple[int, ...]]]]:
    ids = [np.array(document, dtype=np.int32) for document in documents]
    return [
        (window.ids.tolist(), [(p.document, p.number, p.start, p.stop, p.first_token) for p in window.parts])
        for window in make_windows(keys, ids, length, PREFIX, name)
    ]


def test_paloma_windows_by_hand() -> None:
    key = ("s", "d")
    assert as_lists([[1, 2, 3, 4, 5], [6, 7]], [key, key], 2, "paloma") == [
        ([PREFIX, 1, 2], [(0, 0, 1, 3, 0)]),
        ([2, 3, 4], [(0, 1, 1, 3, 2)]),
        ([4, 5], [(0, 2, 1, 2, 4)]),
        ([PREFIX, 6, 7], [(1, 0, 1, 3, 0)]),
    ]


def test_training_windows_by_hand() -> None:
    keys = [("s", "d"), ("s", "e"), ("s", "d")]
    assert as_lists([[1, 2, 3], [8], [6, 7]], keys, 2, "training") == [
        ([PREFIX, 1, 2], [(0, 0, 1, 3, 0)]),
        ([2, 3, PREFIX], [(0, 1, 1, 2, 2)]),
        ([PREFIX, 6, 7], [(2, 0, 1, 3, 0)]),
        ([PREFIX, 8], [(1, 0, 1, 2, 0)]),
    ]


documents_strategy = st.lists(st.lists(st.integers(0, 50), max_size=30), min_size=1, max_size=8)


@given(
    documents=documents_strategy,
    length=st.integers(1, 12),
    name=st.sampled_from(["paloma", "training"]),
    data=st.data(),
)
def test_each_token_is_predicted_exactly_once(
    documents: list[list[int]], length: int, name: str, data: st.DataObject
) -> None:
    keys = [("s", data.draw(st.sampled_from("de"))) for _ in documents]
    seen: list[list[int]] = [[] for _ in documents]
    for ids, parts in as_lists(documents, keys, length, name):
        assert len(ids) <= length + 1
        for document, number, start, stop, first_token in parts:
            assert 1 <= start < stop <= len(ids)
            assert first_token == len(seen[document])
            assert (number == 0) == (first_token == 0)
            seen[document] += ids[start:stop]
            if name == "paloma":  # alone, after the prefix or after exactly one token of overlap
                assert start == 1
                assert ids[0] == (PREFIX if number == 0 else documents[document][first_token - 1])
    assert seen == documents


@pytest.mark.parametrize("name", ["paloma", "training"])
def test_artifact_keeps_the_contract(
    suite_folder: Path, tokenizer_file: Path, tmp_path: Path, name: str, read_rows: Callable[..., Any]
) -> None:
    config = WindowsConfig(
        suite=suite_folder, tokenizer=tokenizer_file, max_length=16, output=tmp_path / "W", format=name
    )
    manifest = write_windows(config)
    assert manifest == json.loads((tmp_path / "W" / "manifest.json").read_text())
    assert (tmp_path / "W" / "tokenizer.json").read_bytes() == tokenizer_file.read_bytes()
    tokenizer = load_tokenizer(tokenizer_file)
    rows = read_rows(tmp_path / "W" / "windows.jsonl.gz")
    texts: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        assert len(row["ids"]) <= 17
        tokens = texts.setdefault((row["source"], row["document"]), [])
        assert (row["window"] == 0) == (not tokens)
        tokens += [row["ids"][position] for position in row["scored"]]
    suite_texts = {}
    for path in suite_folder.glob("*/val/*.jsonl.gz"):
        suite_texts |= {(row["source"], row["id"]): row["text"] for row in read_rows(path)}
    assert {key: tokenizer.tokenizer.decode(ids) for key, ids in texts.items()} == suite_texts
    assert manifest["bytes"] == sum(row["bytes"] for row in rows) == sum(len(t.encode()) for t in suite_texts.values())
    assert manifest["tokens"] == sum(len(row["scored"]) for row in rows)
    assert (manifest["windows"], manifest["documents"]) == (len(rows), len(suite_texts))
    assert (manifest["maximum_length"], manifest["prefix_token_id"], manifest["limit"]) == (16, 0, None)
    before = digest(tmp_path / "W")
    write_windows(config)
    assert digest(tmp_path / "W") == before


def test_limit_is_recorded(suite_folder: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    manifest = write_windows(
        WindowsConfig(
            suite=suite_folder, tokenizer=tokenizer_file, max_length=16, output=tmp_path / "W", limit_documents=4
        )
    )
    assert (manifest["limit"], manifest["documents"]) == (4, 4)


def test_special_tokens_in_text_are_plain_text(tokenizer_file: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_file)
    (ids,) = tokenizer.encode(["a<|endoftext|>b"])
    assert tokenizer.eos_token_id == 0
    assert 0 not in ids
    assert tokenizer.tokenizer.decode(ids.tolist()) == "a<|endoftext|>b"


def test_prefix_is_bos_else_eos_and_in_training_eos_first(tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "</s>": 1, "<s>": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.save(str(tmp_path / "plain.json"))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    tokenizer.save(str(tmp_path / "both.json"))
    both = load_tokenizer(tmp_path / "both.json")
    assert (both.prefix(None, "paloma"), both.prefix(None, "training"), both.prefix(0, "paloma")) == (2, 1, 0)
    plain = load_tokenizer(tmp_path / "plain.json")  # an ordinary word of that name is no special token
    with pytest.raises(UserError, match="prefix-token-id"):
        plain.prefix(None, "paloma")
    with pytest.raises(UserError, match="no token 4"):
        plain.prefix(4, "paloma")
