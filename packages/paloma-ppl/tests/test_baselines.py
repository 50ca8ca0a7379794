import json
import lzma
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.baselines import PrefixText, added_size, baseline, compressed_size
from paloma_ppl.config import BaselineConfig
from paloma_ppl.documents import Document
from paloma_ppl.errors import UserError
from paloma_ppl.files import digest
from paloma_ppl.suite import open_suite, read_held_out
from paloma_ppl.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def output(documents: Path, suite_folder: Path, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baseline") / "B"
    baseline(BaselineConfig(suite=suite_folder, tokenizer=tokenizer_file, documents=documents, output=folder,
                            xz_bytes=4096))  # fmt: skip
    return folder


def test_unigram_is_fitted_on_documents_that_are_not_held_out(
    output: Path, documents: Path, suite_folder: Path, tokenizer_file: Path, read_rows: Callable[..., Any]
) -> None:
    held_out = {(source, identity) for source, identity, _ in read_held_out(open_suite(suite_folder))}
    rows = read_rows(documents / "documents" / "part.jsonl.gz")
    training = [row["text"] for row in rows if (row["source"], row["id"]) not in held_out]
    tokenizer = load_tokenizer(tokenizer_file)
    counts = Counter(token for ids in tokenizer.encode(training) for token in ids.tolist())
    manifest = json.loads((output / "unigram.json").read_text())
    assert manifest["counts"] == [counts[token] for token in range(300)]
    assert (manifest["documents"], manifest["tokens"]) == (len(training), sum(counts.values()))
    scores = read_rows(output / "unigram" / "documents.jsonl.gz")
    texts = {(row["source"], row["id"]): row["text"] for row in rows}
    for score in scores:
        (ids,) = tokenizer.encode([texts[score["source"], score["id"]]])
        expected = sum(math.log((counts[token] + 1) / (sum(counts.values()) + 300)) for token in ids.tolist())
        assert score["log_probability"] == pytest.approx(expected, rel=1e-12)


def test_xz_counts_the_bytes_that_a_document_adds(output: Path, read_rows: Callable[..., Any]) -> None:
    for row in read_rows(output / "xz" / "documents.jsonl.gz"):
        added = -row["log_probability"] / (8 * math.log(2))
        assert row["tokens"] == 0
        assert added == pytest.approx(round(added), abs=1e-9)
        assert 0 < added < row["bytes"]
    results = json.loads((output / "xz" / "results.json").read_text())
    assert all(row["perplexity"] is None for row in results["domains"])
    assert not (output / "xz" / "vocabulary.jsonl.gz").exists()


def test_training_text_helps_the_compressor() -> None:
    prefix = b"".join(b"line %d of a text about ships and the sea\n" % number for number in range(50))
    document = b"line 51 of a text about ships and the sea\n"
    assert added_size(prefix, compressed_size(prefix), document) < 15
    assert added_size(b"", compressed_size(b""), document) > 30
    assert added_size(prefix, compressed_size(prefix), b"") == 0


def test_compressed_size_is_that_of_a_stream_that_unpacks() -> None:
    data = bytes(range(256)) * 40
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": len(data)}]
    packed = lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters)
    assert compressed_size(data) == len(packed)
    assert lzma.decompress(packed, format=lzma.FORMAT_RAW, filters=filters) == data


def test_prefix_is_bounded_holds_many_documents_and_does_not_depend_on_order() -> None:
    documents = [Document(str(n), f"{n:03}" * 40, "s", {}, "f", n) for n in range(100)]
    found = []
    for order in (documents, documents[::-1]):
        text = PrefixText(800)
        for document in order:
            text.add(document)
        assert text.held["s"] < 800 + 101
        found.append(text.prefixes()["s"])
    assert found[0] == found[1]
    assert len(found[0]) == 800
    assert found[0].count(b"\n") == 30  # 25 bytes of each document


def test_processes_change_nothing(
    output: Path, documents: Path, suite_folder: Path, tokenizer_file: Path, tmp_path: Path
) -> None:
    config = BaselineConfig(
        suite=suite_folder, tokenizer=tokenizer_file, documents=documents, output=tmp_path / "B", xz_bytes=4096,
        processes=2,
    )  # fmt: skip
    baseline(config)
    assert digest(tmp_path / "B") == digest(output)


def test_a_folder_of_something_else_is_left_alone_before_any_work(
    documents: Path, suite_folder: Path, tokenizer_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "B").mkdir()
    (tmp_path / "B" / "thesis.txt").write_text("mine")
    config = BaselineConfig(
        suite=suite_folder, tokenizer=tokenizer_file, documents=documents, output=tmp_path / "B", xz_bytes=64
    )
    with pytest.raises(UserError, match="the output exists and is not a unigram artifact"):
        baseline(config)
    assert [path.name for path in tmp_path.rglob("*")] == ["B", "thesis.txt"]


def test_baselines_are_made_again_in_their_own_folder_and_keep_their_records(
    documents: Path, suite_folder: Path, tokenizer_file: Path, tmp_path: Path
) -> None:
    config = BaselineConfig(
        suite=suite_folder, tokenizer=tokenizer_file, documents=documents, output=tmp_path / "B", xz_bytes=64, limit=3
    )
    baseline(config)
    before = digest(tmp_path / "B")
    (tmp_path / "B" / "unigram" / "results.json").write_text("cut")
    baseline(config)
    assert digest(tmp_path / "B") == before
    assert len(list((tmp_path / "B" / "provenance").iterdir())) == 2
