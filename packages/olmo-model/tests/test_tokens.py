from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olmo_model.errors import UserError
from olmo_model.tokens import Document, Instances, Tokens


@pytest.fixture
def copy(tokens_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tokens_folder, tmp_path / "tokens"))


def change(folder: Path, **values: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"artifact": "documents"}, "'documents' artifact, not tokens"),
        ({"format_version": 7}, "format version 7 is unknown"),
        ({"dtype": "uint32"}, "dtype is uint32, but 300 ids are stored as uint16"),
        ({"vocab_size": 100_000}, "100000 ids are stored as uint32"),
        ({"eos_token_id": 300}, "eos_token_id 300 is not below"),
        ({"eos_token_id": 5}, "the file ends in id 0, not in the end of a document"),
        ({"tokenizer_digest": "sha256:" + "0" * 64}, "not the one in the manifest"),
        ({"files": [{"path": "part-00000.npy", "tokens": 3, "documents": 1}]}, "bytes, not 3 tokens of uint16"),
        ({"files": [{"path": "absent.npy", "tokens": 3, "documents": 1}]}, "is missing"),
        ({"files": [{"path": "part-00000.npy"}]}, "lacks 'tokens'"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_the_mend(copy, values, message):
    change(copy, **values)
    with pytest.raises(UserError, match=message) as found:
        Tokens(copy)
    assert found.value.fix


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "part-00001.npy"])
def test_a_missing_file_is_refused(copy, name):
    (copy / name).unlink()
    with pytest.raises(UserError, match="missing"):
        Tokens(copy)


@pytest.mark.parametrize("name", ["documents.idx", "part-00000.csv.gz"])
def test_a_missing_list_of_documents_is_refused_when_it_is_asked_for(copy, name):
    tokens = Tokens(copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match="missing"):
        tokens.overlapping(0, [(0, 10)])


def test_an_id_outside_the_vocabulary_is_refused(write_tokens, tmp_path):
    tokens = Tokens(write_tokens(tmp_path / "tokens", [[("a", [5, 999, 6])]]))
    with pytest.raises(UserError, match="id 999 near token 0 is not below vocab_size 300"):
        Instances(tokens, 4).batch(np.array([0], dtype=np.uint32))


def test_instances_are_chunks_of_each_file_without_its_tail(write_tokens, tmp_path):
    files = [[("a", [10, 11, 12, 13, 14])], [("b", [20])], [], [("c", [30, 31, 32]), ("d", [40, 41, 42])]]
    instances = Instances(Tokens(write_tokens(tmp_path / "tokens", files)), 3)
    assert len(instances) == 4
    assert instances.batch(np.array([3, 0, 1, 2], dtype=np.uint32)).tolist() == [
        [0, 40, 41],
        [10, 11, 12],
        [13, 14, 0],
        [30, 31, 32],
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 9))
def test_place_and_covering_agree_with_a_plain_walk(lengths, size):
    tokens = Tokens.__new__(Tokens)
    tokens.lengths = lengths
    instances = Instances(tokens, size)
    walk = [(file, start) for file, n in enumerate(lengths) for start in range(0, n - size + 1, size)]
    assert [instances.place(number) for number in range(len(instances))] == walk
    for file, length in enumerate(lengths):
        for start, end in ((0, 1), (length // 2, length // 2 + 7), (0, length)):
            if not start < end <= length:
                continue
            expected = [n for n, (f, at) in enumerate(walk) if f == file and at < end and start < at + size]
            assert list(instances.covering(Document(file, 0, start, end, "", "", 1))) == expected


def test_documents_are_found_by_id_and_by_place(tokens_folder):
    tokens = Tokens(tokens_folder)
    (found,) = tokens.find("story-71")
    assert (found.file, found.row, found.src, found.loc) == (1, 1, "documents/part-1.jsonl.gz", 2)
    assert tokens.find("story-999") == []
    (before, here), (only,) = tokens.overlapping(
        1, [(found.start - 1, found.start + 2), (found.start, found.start + 1)]
    )
    assert (before.id, here, only) == ("story-70", found, found)
