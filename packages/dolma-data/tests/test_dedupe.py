from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.annotate import Chunk
from dolma_data.batch import lay_out
from dolma_data.cli import execute
from dolma_data.config.dedupe import DedupeRule, DocumentKey, NgramKey, ParagraphKey
from dolma_data.dedupe.by_hash import HashMarker
from dolma_data.dedupe.deduplication import encode_hashes
from dolma_data.dedupe.first_copies import find_first_copies
from dolma_data.dedupe.scratch import Scratch
from dolma_data.dedupe.units import encode_units, have_few_words, parse_key, value_at, words_by_piece, words_in
from dolma_data.dedupe.writing import encode_rows
from dolma_data.errors import UserError
from dolma_data.files import digest
from dolma_data.hashes import HashIndex, first_copies, hash_texts
from dolma_data.kernels.deduplication import split_texts

PARAGRAPHS = DedupeRule(paragraphs=ParagraphKey(attribute_name="dup"))


def document(name: str, text: str, source: str = "s", **metadata: Any) -> dict[str, Any]:
    return {"id": name, "text": text, "source": source, "metadata": metadata}


def dedupe(root: Path, *options: str) -> int:
    return execute(["dedupe", "--documents", str(root), *options])


def mark(rule: DedupeRule, chunks: Sequence[Sequence[dict[str, Any]]], compat: str | None = None) -> list[Any]:
    """Attributes of documents cut into chunks, in this process."""
    found = []
    line = 1
    threshold = rule.paragraphs.by_ngram.overlap_threshold if rule.paragraphs and rule.paragraphs.by_ngram else 1.0
    with TemporaryDirectory() as folder:
        scratch = Scratch(Path(folder))
        for rows in chunks:
            chunk = Chunk.of_lines(0, line, [json.dumps(row).encode() for row in rows], last=False)
            scratch.append(*encode_hashes(rule, compat, chunk, in_order=False, named=True))
            line += len(rows)
        marker = HashMarker(threshold, find_first_copies(scratch, processes=1), asked=False)
        for number, before in scratch.chunks():
            units = scratch.load(number)
            marks = marker.marks_of(scratch, number, units, before)
            found += encode_rows(units, "dup", marks, always=rule.paragraphs is not None).splitlines()
    return [json.loads(line)["attributes"] for line in found]


def test_the_first_copy_in_order_of_files_and_rows_is_kept(write_documents: Any, read_jsonl: Any) -> None:
    write_documents([document("late", "same text")], "b.jsonl.gz")
    root = write_documents([document("one", "other"), document("first", "same text"), document("again", "same text")])
    assert dedupe(root, "--dedupe.documents.attribute_name", "dup", "--dedupe.name", "exact") == 0
    folder = root / "attributes" / "exact"
    assert read_jsonl(folder / "a.jsonl.gz") == [
        {"id": "one", "attributes": {}, "source": "s"},
        {"id": "first", "attributes": {}, "source": "s"},
        {"id": "again", "attributes": {"dup": [[0, 9, 1]]}, "source": "s"},
    ]
    assert read_jsonl(folder / "b.jsonl.gz") == [{"id": "late", "attributes": {"dup": [[0, 9, 1]]}, "source": "s"}]
    match = {"source": "s", "start": 0, "end": 9, "first_id": "first", "first_source": "s"}
    match |= {"first_file": "a.jsonl.gz", "first_line": 2}
    assert read_jsonl(folder / "matches.jsonl.gz") == [
        {"id": "again", "file": "a.jsonl.gz", "line": 3} | match,
        {"id": "late", "file": "b.jsonl.gz", "line": 1} | match,
    ]
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["name"] == "exact"
    assert manifest["taggers"][0]["keys"] == ["dup"]


@pytest.mark.parametrize("method", ["exact", "minhash", "substring"])
def test_matches_of_documents_with_one_id_and_damaged_lines_between_tell_file_and_line(
    write_documents: Any, read_jsonl: Any, method: str
) -> None:
    text = " ".join(map(str, range(60)))
    write_documents([b"cut", document("same", text), b"cut", document("same", text)], "z 50%d/b.jsonl.gz")
    root = write_documents([b"cut", document("same", "nothing of the kind here, not at all"), document("same", text)])
    assert dedupe(root, "--dedupe.documents.attribute_name", "dup", "--dedupe.method", method, "--max-failed", "3") == 0
    names = ("file", "line", "first_file", "first_line")
    matches = read_jsonl(root / "attributes/dup/matches.jsonl.gz")
    assert [tuple(match[name] for name in names) for match in matches if match["end"] == len(text)] == [
        ("z 50%d/b.jsonl.gz", 2, "a.jsonl.gz", 3),
        ("z 50%d/b.jsonl.gz", 4, "a.jsonl.gz", 3),
    ]


def test_paragraph_spans_are_code_points_with_their_newline(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents(
        [document("1", "Überall 🎉\neins\n\nÜberall 🎉"), document("2", "zwei\neins\nÜberall 🎉", "t")]
    )
    assert dedupe(root, "--dedupe.paragraphs.attribute_name", "dup") == 0
    first, second = read_jsonl(root / "attributes/dup/a.jsonl.gz")
    assert first["attributes"] == {"dup": [[16, 25, 1]]}
    assert second["attributes"] == {"dup": [[5, 10, 1], [10, 19, 1]]}
    assert [row["first_id"] for row in read_jsonl(root / "attributes/dup/matches.jsonl.gz")] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[4, 8], [8, 9], [9, 23]]),
        ({"skip_empty": True}, [[4, 8], [9, 23]]),
        ({"min_length": 4}, [[9, 23]]),
        ({"min_length": 15}, []),
        ({"min_words": 3}, [[9, 23]]),
        ({"min_words": 4}, []),
    ],
)
def test_short_and_blank_paragraphs_are_left_alone(options: dict[str, Any], expected: list[list[int]]) -> None:
    rule = DedupeRule(paragraphs=PARAGRAPHS.paragraphs, **options)
    rows = [document("1", "abc\n\nthree words is"), document("2", "new\nabc\n\nthree words is")]
    found = mark(rule, [rows])[1]["dup"]
    assert [span[:2] for span in found] == expected


def test_another_separator(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents([document("1", "a. b\n\nc\n\na. b\n\nd")])
    options = ("--dedupe.paragraphs.paragraph_separator", "\n\n")
    assert dedupe(root, "--dedupe.paragraphs.attribute_name", "dup", *options) == 0
    assert read_jsonl(root / "attributes/dup/a.jsonl.gz")[0]["attributes"] == {"dup": [[9, 15, 1]]}


def test_documents_with_the_same_address_are_the_same() -> None:
    rule = DedupeRule(documents=DocumentKey(attribute_name="dup", key="$.metadata.url"))
    rows = [document("1", "one", url="x.org"), document("2", "twenty", url="x.org"), document("3", "one", url="y.org")]
    assert mark(rule, [rows]) == [{}, {"dup": [[0, 6, 1]]}, {}]


def test_skipped_documents_have_an_empty_list() -> None:
    rule = DedupeRule(documents=DocumentKey(attribute_name="dup"), min_length=3)
    assert mark(rule, [[document("1", "xy"), document("2", "xy"), document("3", "xyz")]]) == [
        {"dup": []},
        {"dup": []},
        {},
    ]


lines = st.sampled_from(["a", "b", "", "ü🎉", "long line here"])
corpora = st.lists(st.lists(lines, min_size=1, max_size=5).map("\n".join), max_size=8)


@given(
    st.lists(st.text(alphabet="aé漢🎉. \n", max_size=60), max_size=6),
    st.sampled_from(["\n", "\n\n", ". ", "é", "漢.", "🎉"]),
)
def test_pieces_of_texts_are_those_of_split_with_their_places(texts: list[str], separator: str) -> None:
    buffer, offsets = lay_out(texts)
    first, starts, ends, begins, after = split_texts(
        buffer, offsets, np.frombuffer(separator.encode(), dtype=np.uint8), False
    )
    for k, text in enumerate(texts):
        own = slice(first[k], first[k + 1])
        expected = text.split(separator) if text else []
        pieces = zip(starts[own].tolist(), ends[own].tolist(), strict=True)
        assert [buffer[start:end].tobytes().decode() for start, end in pieces] == expected
        covered = [text[start:end] for start, end in zip(begins[own].tolist(), after[own].tolist(), strict=True)]
        assert covered == [piece + separator for piece in expected[:-1]] + expected[-1:]


@given(corpora, st.integers(1, 8))
def test_repeated_paragraphs_are_those_a_set_of_seen_ones_finds(texts: list[str], chunk: int) -> None:
    seen: set[str] = set()
    expected = []
    for text in texts:
        found = []
        start = 0
        for paragraph in text.split("\n") if text else ():
            end = min(start + len(paragraph) + 1, len(text))
            if paragraph in seen:
                found.append([start, end, 1])
            seen.add(paragraph)
            start = end
        expected.append({"dup": found} if text else {})
    rows = [document(str(k), text) for k, text in enumerate(texts)]
    assert mark(PARAGRAPHS, [rows[k : k + chunk] for k in range(0, len(rows), chunk)]) == expected


@given(st.lists(st.sampled_from("abcdef"), max_size=30))
def test_first_copies_are_positions_of_the_first_equal_text(texts: list[str]) -> None:
    hashes = hash_texts(text.encode() for text in texts)
    assert first_copies(hashes).tolist() == [texts.index(text) for text in texts]
    index = HashIndex(hashes)
    asked = hash_texts(text.encode() for text in "afgz")
    assert index.find(asked).tolist() == [texts.index(text) if text in texts else -1 for text in "afgz"]


def test_hashes_that_share_their_upper_half_are_different() -> None:
    hashes = np.array([[1, 5], [1, 4], [1, 5], [2, 5]], dtype=np.uint64)
    assert first_copies(hashes).tolist() == [0, 1, 0, 3]


def test_any_number_of_processes_gives_the_same_bytes(write_documents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 500)
    texts = [f"line {k % 7}\nline {k % 5}\nunique {k}" for k in range(60)]
    root = write_documents([*(document(str(k), text) for k, text in enumerate(texts[:40])), b"broken"])
    write_documents([document(str(k), text) for k, text in enumerate(texts[40:])], "b/b.jsonl")
    digests = []
    for processes in ("1", "2"):
        options = ("--dedupe.paragraphs.attribute_name", "dup", "--processes", processes, "--max-failed", "1")
        assert dedupe(root, *options) == 0
        digests.append(digest(root / "attributes/dup"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((), "needs one of documents and paragraphs"),
        (
            ("--dedupe.documents.attribute_name", "a", "--dedupe.paragraphs.attribute_name", "b"),
            "needs one of documents and paragraphs",
        ),
        (("--dedupe.documents.attribute_name", "a", "--dedupe.documents.key", "text"), "did you mean $.text?"),
        (("--dedupe.documents.attribute_name", "a", "--dedupe.documents.key", "$.metadata.url"), "no text at $.meta"),
        (("--dedupe.paragraphs.attribute_name", "a", "--dedupe.min_words", "-1"), "dedupe.min_words is -1"),
        (("--dedupe.paragraphs.attribute_name", "a", "--dedupe.min_wordz", "1"), "min-words"),
    ],
)
def test_mistakes_are_told(
    write_documents: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], what: str
) -> None:
    root = write_documents([document("1", "x")])
    assert dedupe(root, *options) == 2
    assert what in capsys.readouterr().err
    assert not list(root.rglob("manifest.json"))


def test_a_path_names_fields() -> None:
    assert parse_key("$.metadata.url") == ("metadata", "url")
    for key in ("$", "text", "$..a", ""):
        with pytest.raises(UserError):
            parse_key(key)


@pytest.mark.parametrize("method", ["exact", "bloom", "minhash"])
def test_documents_without_the_key_are_left_alone_and_told(
    dolma: Any, write_documents: Any, tmp_path: Path, read_jsonl: Any, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    urls = [{"url": "a.org"}, {}, {"url": "a.org"}, {"url": None}, {"url": ""}, {"url": 5}]
    write_documents([b"broken", *(document(str(k), "one text", **more) for k, more in enumerate(urls))])
    options = ["--dedupe.documents.key", "$.metadata.url", "--dedupe.documents.attribute-name", "dup"]
    options += ["--dedupe.skip-empty", "--dedupe.name", "dup", "--max-failed", "1"]
    if method == "bloom":
        options += ["--bloom-filter.file", tmp_path / "filter", "--bloom-filter.size-in-bytes", "1000"]
    assert dolma("dedupe", "--documents", tmp_path / "corpus", "--dedupe.method", method, *options) == 0
    rows = read_jsonl(tmp_path / "corpus/attributes/dup/a.jsonl.gz")
    found = [row["attributes"] for row in rows]
    assert found == [{}, {}, {"dup": []}, {"dup": [[0, 8, 1.0]]}, {"dup": []}, {"dup": []}, {"dup": []}]
    (told,) = [line for line in caplog.messages if "no text at" in line]
    assert "3 of 6 documents have no text at $.metadata.url" in told
    assert told.endswith("a.jsonl.gz, line 3")


def test_a_path_of_the_mixer_selects_the_key() -> None:
    row = document("1", "x", urls=["first.org", "second.org"])
    assert parse_key("$.metadata.urls[0]") is None
    assert value_at(row, "$.metadata.urls[1]") == "second.org"
    assert value_at(row, "$['metadata']['urls'][0]") == "first.org"


def test_dolmas_configuration_file_is_read(dolma: Any, write_documents: Any, tmp_path: Path, read_jsonl: Any) -> None:
    root = write_documents([document("1", "x\n\nx")])
    config = tmp_path / "dedupe.yaml"
    config.write_text(
        f"documents: ['{root}/documents/*.jsonl.gz']\n"
        "dedupe:\n  name: pars\n  paragraphs: {attribute_name: dup}\n  skip_empty: true\nprocesses: 1\n"
    )
    assert dolma("-c", config, "dedupe") == 0
    assert read_jsonl(root / "attributes/pars/a.jsonl.gz")[0]["attributes"] == {"dup": [[3, 4, 1]]}


def ngrams(**settings: Any) -> DedupeRule:
    return DedupeRule(paragraphs=ParagraphKey(attribute_name="dup", by_ngram=NgramKey(**settings)))


def test_the_score_is_the_share_of_repeated_ngrams() -> None:
    rows = [document("1", "a b c d e"), document("2", "a b c d x y z"), document("3", "a b c d e")]
    assert mark(ngrams(ngram_length=3, overlap_threshold=0.0), [rows]) == [
        {"dup": [[0, 9, 0.0]]},
        {"dup": [[0, 13, 0.4000000059604645]]},  # two of five, in 32-bit precision
        {"dup": [[0, 9, 1.0]]},
    ]
    assert mark(ngrams(ngram_length=3, overlap_threshold=0.41), [rows])[1] == {"dup": []}


def test_paragraphs_of_fewer_than_two_ngrams_are_compared_whole_or_left_alone() -> None:
    rows = [document("1", "a b c\nx y z w"), document("2", "a b c")]
    assert mark(ngrams(ngram_length=3), [rows]) == [{"dup": []}, {"dup": [[0, 5, 1.0]]}]
    # its one n-gram is repeated, and where short ones are left alone that n-gram decides
    assert mark(ngrams(ngram_length=3, skip_short_paragraphs=True), [rows])[1] == {"dup": [[0, 5, 1.0]]}
    assert mark(ngrams(ngram_length=4, skip_short_paragraphs=True), [rows])[1] == {"dup": []}


def test_a_stride_takes_every_second_ngram_and_dolma_the_first_two() -> None:
    # n-grams of two words begin at a, c, e here; at a, b, d for Dolma
    rows = [document("1", "a b\nc d\ne f"), document("2", "a b c d e f")]
    rule = ngrams(ngram_length=2, stride=2, overlap_threshold=0.1)
    short = DedupeRule(paragraphs=ParagraphKey(attribute_name="dup", by_ngram=rule.paragraphs.by_ngram))  # type: ignore[union-attr]
    assert mark(short, [rows])[1] == {"dup": [[0, 11, 1.0]]}
    assert mark(short, [rows], compat="dolma")[1] == {"dup": [[0, 11, 0.3333333432674408]]}


def test_the_hash_is_murmur3() -> None:
    vectors = {b"": 0, b"hello": 0xCBD8A7B341BD9B025B1E906A48AE1D19}
    vectors[b"The quick brown fox jumps over the lazy dog"] = 0xE34BBC7BBC071B6C7A433CA9C49A9347
    assert [(int(one) << 64) | int(two) for one, two in hash_texts(vectors)] == list(vectors.values())


def test_parts_of_hashes_find_what_all_of_them_find(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [document(str(k), f"line {k % 7}\nline {k % 5}\nunique {k}") for k in range(40)]
    chunks = [rows[k : k + 9] for k in range(0, len(rows), 9)]
    whole = mark(PARAGRAPHS, chunks)
    monkeypatch.setattr("dolma_data.dedupe.first_copies.HASHES", 10)
    assert mark(PARAGRAPHS, chunks) == whole
    assert sum(len(row["dup"]) for row in whole) == 80 - 7


@pytest.mark.parametrize("options", [(), ("--dedupe.paragraphs.by_ngram.ngram_length", "2")])
def test_any_number_of_processes_and_parts_gives_the_same_bytes(
    write_documents: Any, contents: Any, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    for number in range(3):
        rows = [document(f"{number}-{k}", f"line of {k % 7}\nline of {k % 5}\nunique {k}\n") for k in range(20)]
        root = write_documents(rows, f"{number}.jsonl.gz")
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 300)
    found = []
    for hashes, processes in ((1 << 18, "1"), (5, "1"), (5, "2"), (5, "3"), (20, "2")):
        monkeypatch.setattr("dolma_data.dedupe.first_copies.HASHES", hashes)
        assert dedupe(root, "--dedupe.paragraphs.attribute_name", "dup", *options, "--processes", processes) == 0
        found.append(contents(root / "attributes"))
    assert all(each == found[0] for each in found)
    assert b"first_id" in gzip.decompress(found[0]["dup/matches.jsonl.gz"])


def test_partitions_find_together_what_one_run_finds(write_documents: Any, read_jsonl: Any) -> None:
    rows = [document(str(k), f"line {k % 7}\nline {k % 5}\nunique {k}") for k in range(30)]
    root = write_documents(rows)
    together: list[list[Any]] = [[] for _ in rows]
    for index in ("0", "1", "2"):
        options = ("--dedupe.num_partitions", "3", "--dedupe.partition_index", index)
        assert dedupe(root, "--dedupe.paragraphs.attribute_name", "dup", *options) == 0
        for found, row in zip(together, read_jsonl(root / f"attributes/dup_{index}/a.jsonl.gz"), strict=True):
            found += row["attributes"][f"dup_{index}"]
    assert [{"dup": sorted(found)} for found in together] == mark(PARAGRAPHS, [rows])


@given(st.lists(st.text("aB1' .\u0301\u200d\n\r🇩日", max_size=30), min_size=1, max_size=4), st.integers(1, 8))
def test_words_of_long_ranges_are_found_piece_by_piece(texts: list[str], size: int) -> None:
    buffer, offsets = lay_out(texts)
    edges, first, after, spelled = words_in(buffer, offsets[:-1], offsets[1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dolma_data.dedupe.units.PIECE", size)
        pieces = list(words_by_piece(buffer, offsets[:-1], offsets[1:]))
    numbers = np.zeros(len(texts), dtype=np.int64)
    for owners, found, *_ in pieces:
        np.add.at(numbers, owners, np.diff(found))
    assert numbers.tolist() == np.diff(edges).tolist()
    for whole, column in zip((first, after, spelled), range(2, 5), strict=True):
        assert np.concatenate([whole[:0], *(piece[column] for piece in pieces)]).tolist() == whole.tolist()


def test_files_are_divided_by_their_name(write_documents: Any) -> None:
    for number in range(6):
        root = write_documents([document(str(number), "x")], f"{number}.jsonl.gz")
    parts = []
    for index in ("0", "1"):
        options = ("--dedupe.num_partitions", "2", "--dedupe.partition_index", index, "--dedupe.file_partition")
        assert dedupe(root, "--dedupe.documents.attribute_name", "dup", *options) == 0
        parts.append({path.name for path in (root / f"attributes/dup_{index}").glob("?.jsonl.gz")})
    assert all(parts)
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == {f"{number}.jsonl.gz" for number in range(6)}


def test_documents_of_an_old_corpus_come_first_and_are_not_marked(write_documents: Any, read_jsonl: Any) -> None:
    old = write_documents([document("o1", "same"), document("o2", "same")], root="old")
    new = write_documents([document("n1", "other"), document("n2", "same")], root="new")
    options = ("--dedupe.documents.attribute_name", "dup", "--dedupe.against", str(old))
    assert dedupe(new, *options) == 0
    assert [row["attributes"] for row in read_jsonl(new / "attributes/dup/a.jsonl.gz")] == [{}, {"dup": [[0, 4, 1]]}]
    (match,) = read_jsonl(new / "attributes/dup/matches.jsonl.gz")
    assert (match["id"], match["first_id"]) == ("n2", "o1")
    assert (match["first_corpus"], match["first_file"], match["first_line"]) == (
        str(old / "documents"),
        "a.jsonl.gz",
        1,
    )
    assert not (old / "attributes").exists()


def test_a_folder_of_documents_with_another_name(write_documents: Any, read_jsonl: Any) -> None:
    root = write_documents([document("1", "x"), document("2", "x")])
    (root / "documents").rename(root / "texts")
    options = ("--dedupe.documents.attribute_name", "dup", "--dedupe.document_dir", "texts")
    assert dedupe(root, *options) == 0
    assert read_jsonl(root / "attributes/dup/a.jsonl.gz")[1]["attributes"] == {"dup": [[0, 1, 1]]}


def test_finished_files_of_an_interrupted_run_are_not_read_again(tmp_path: Path) -> None:
    chunk = Chunk.of_lines(0, 1, [json.dumps(document("1", "a\nb")).encode()], last=True)
    begun = Chunk.of_lines(1, 1, [json.dumps(document("2", "a")).encode()], last=False)
    scratch = Scratch(tmp_path)
    for part in (chunk, begun):
        scratch.append(encode_units(PARAGRAPHS, None, part)[0], {})
    again = Scratch(tmp_path)
    assert again.finished == {0}
    assert [path.name for path in tmp_path.iterdir()] == ["00000000.columns"]
    assert again.load(0).ids == [b'"1"']


def words_of(text: str) -> list[str]:
    buffer = np.frombuffer(text.encode(), dtype=np.uint8)
    edges, first, after, _ = words_in(buffer, np.array([0]), np.array([len(buffer)]))
    assert edges.tolist() == [0, len(first)]
    return [buffer[begin:end].tobytes().decode() for begin, end in zip(first, after, strict=True)]


def test_words_between_boundaries_are_counted_without_white_space() -> None:
    assert words_of(" It's 3.14, a-b\t x_y… 'after'") == [
        *("It's", "3.14", ",", "a", "-", "b", "x_y", "…", "'", "after", "'")
    ]
    assert words_of("日本 e\u0301té 🇩🇪🇫🇷 👩\u200d👧") == ["日", "本", "e\u0301té", "🇩🇪", "🇫🇷", "👩\u200d👧"]
    assert words_of("") == words_of(" \u3000\n") == []


COMPAT_ROWS = [document("1", "aaaa\nüüüü\nab\nüü\na\nxyzuvw"), document("2", "aaaa\nüüüü\nab\nüü\na\nxyzuvw")]


@pytest.mark.parametrize(
    ("least", "spans"),  # what allenai/dolma 1.2.1 writes; the text has 24 code points
    [
        (2, [[0, 5, 1], [5, 10, 1], [10, 13, 1], [13, 16, 1], [18, 25, 1]]),
        (3, [[0, 5, 1], [5, 10, 1], [18, 25, 1]]),
        (5, [[18, 25, 1]]),
    ],
)
def test_compat_ends_the_last_span_beyond_the_text(least: int, spans: list[list[int]]) -> None:
    rule = DedupeRule(paragraphs=PARAGRAPHS.paragraphs, min_length=least)
    assert mark(rule, [COMPAT_ROWS], compat="dolma") == [{"dup": []}, {"dup": spans}]
    assert mark(rule, [COMPAT_ROWS])[1]["dup"] == [*spans[:-1], [18, 24, 1]]


def test_compat_leaves_a_newline_at_the_end_to_no_paragraph() -> None:
    rows = [document("1", "ab\ncd\n"), document("2", "ab\ncd\n")]
    assert mark(PARAGRAPHS, [rows], compat="dolma")[1] == {"dup": [[0, 3, 1], [3, 5, 1], [5, 5, 1]]}
    assert mark(PARAGRAPHS, [rows])[1] == {"dup": [[0, 3, 1], [3, 6, 1], [6, 6, 1]]}


def test_compat_counts_a_separator_as_one_character() -> None:
    rule = DedupeRule(paragraphs=ParagraphKey(attribute_name="dup", paragraph_separator="\n\n"))
    rows = [document("1", "a\n\nb c d"), document("2", "a\n\nb c d")]
    assert mark(rule, [rows], compat="dolma")[1] == {"dup": [[0, 2, 1], [2, 7, 1]]}
    assert mark(rule, [rows])[1] == {"dup": [[0, 3, 1], [3, 8, 1]]}


def test_compat_measures_documents_in_bytes_of_their_key() -> None:
    rule = DedupeRule(documents=DocumentKey(attribute_name="dup", key="$.metadata.url"), min_length=4)
    rows = [document("1", "text", url="üü"), document("2", "other text", url="üü")]
    assert mark(rule, [rows], compat="dolma") == [{}, {"dup": [[0, 4, 1]]}]
    assert mark(rule, [rows]) == [{"dup": []}, {"dup": []}]


def test_compat_compares_nothing_where_words_are_counted() -> None:
    rows = [document("1", "two words"), document("2", "two words"), document("3", "one")]
    documents = DedupeRule(documents=DocumentKey(attribute_name="dup"), min_words=2)
    assert mark(documents, [rows], compat="dolma") == [{}, {}, {"dup": []}]
    assert mark(documents, [rows]) == [{}, {"dup": [[0, 9, 1]]}, {"dup": []}]
    paragraphs = DedupeRule(paragraphs=PARAGRAPHS.paragraphs, min_words=1)
    assert mark(paragraphs, [rows], compat="dolma") == [{"dup": []}, {"dup": []}, {"dup": []}]
    assert mark(paragraphs, [rows]) == [{"dup": []}, {"dup": [[0, 9, 1]]}, {"dup": []}]


def test_a_killed_run_goes_on_to_the_same_bytes(
    write_documents: Any, contents: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        rows = [document(f"{number}-{k}", f"line {k % 7}\nline {k % 5}\nunique {k}") for k in range(20)]
        root = write_documents(rows, f"{number}.jsonl.gz")
    options = ("--dedupe.paragraphs.attribute_name", "dup")
    assert dedupe(root, *options) == 0
    expected = contents(root / "attributes")
    shutil.rmtree(root / "attributes")
    program = (
        "import os, sys\n"
        "from dolma_data.dedupe import deduplication as dedupe\n"
        "from dolma_data.cli import execute\n"
        "kept = dedupe.Scratch.adopt\n"
        "def adopt(scratch, path, meta):\n"
        "    if meta.file == 2: os._exit(9)\n"
        "    kept(scratch, path, meta)\n"
        "dedupe.Scratch.adopt = adopt\n"
        "execute(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", program, "dedupe", "--documents", str(root), *options]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 9
    left = sorted(path.name for path in (root / "attributes").iterdir())
    assert left == ["dup.lock.partial", "dup.progress.partial"]
    encoded = []
    kept = encode_units

    def counted(rule: DedupeRule, compat: str | None, chunk: Chunk) -> Any:
        encoded.append(chunk.file)
        return kept(rule, compat, chunk)

    monkeypatch.setattr("dolma_data.dedupe.deduplication.encode_units", counted)
    assert dedupe(root, *options) == 0
    assert encoded == [2]  # the two files before were kept
    assert contents(root / "attributes") == expected


def have_fewer(text: str, least: int) -> bool:
    buffer = np.frombuffer(text.encode(), dtype=np.uint8)
    return bool(have_few_words(buffer, np.array([0]), np.array([len(buffer)]), least)[0])


def test_words_that_count_hold_a_letter_or_digit() -> None:
    text = "can't stop — 3.14 (e.g. x_y) 日本"
    assert [have_fewer(text, least) for least in (6, 7, 8)] == [False, False, True]
    assert have_fewer(" -- … !", 1)


@given(st.lists(st.sampled_from([*"ab1_ .,:'-\n日é", "can't", "3.5", "\u3000"]), max_size=12).map("".join))
def test_few_words_are_fewer_than_the_library_counts(text: str) -> None:
    words = sum(1 for piece in regex.splititer(r"(?w)\b", text) if regex.search(r"[\p{L}\p{N}]", piece))
    assert [have_fewer(text, count) for count in range(words + 3)] == [count > words for count in range(words + 3)]


def test_the_record_states_the_digest_of_the_attributes_as_they_lie(write_documents: Any) -> None:
    rows = [document("a", "One.\nTwo."), document("b", "Two.\nThree."), document("c", "One.\nThree.")]
    write_documents(rows)
    root = write_documents(rows, "b.jsonl")
    assert dedupe(root, "--dedupe.name", "dup", "--dedupe.paragraphs.attribute-name", "dup") == 0
    written = root / "attributes/dup"
    (record,) = (json.loads(path.read_bytes()) for path in (written / "provenance").iterdir())
    assert record["outputs"] == {str(written): digest(written)}
    assert (written / "matches.jsonl.gz").stat().st_size > 0
