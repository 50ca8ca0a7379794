"""Listing, reading and writing the documents artifact."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.documents import (
    DocumentFile,
    documents_artifact,
    encode_json,
    find_documents,
    is_blank,
    parse_document,
    read_rows,
)
from dolma_data.errors import UserError
from dolma_data.shard_writing import ShardWriter

DOCUMENT = {"id": "1", "text": "one", "source": "s"}


def names(files: list[DocumentFile]) -> list[str]:
    return [file.tree for file in files]


class TestFindDocuments:
    def test_root_folder_documents_folder_file_and_pattern_name_the_same_files(self, write_documents):
        write_documents([DOCUMENT], "b.jsonl")
        root = write_documents([DOCUMENT], "a/a.jsonl.gz")
        expected = ["a/a.jsonl.gz", "b.jsonl"]
        for item in (root, root / "documents", f"{root}/documents/**/*.jsonl*"):
            found = find_documents([item])
            assert names(found) == expected
            assert {file.root for file in found} == {root}
        assert names(find_documents([root / "documents/b.jsonl"])) == ["b.jsonl"]

    def test_inputs_keep_their_order_and_a_file_named_twice_counts_once(self, write_documents):
        one = write_documents([DOCUMENT], root="z")
        two = write_documents([DOCUMENT], root="a")
        assert [file.root for file in find_documents([one, two, one / "documents"])] == [one, two]

    def test_unfinished_and_other_files_in_folders_are_left_out(self, write_documents):
        root = write_documents([DOCUMENT])
        (root / "documents/b.jsonl.gz.partial").write_bytes(b"")
        (root / "documents/notes.txt").write_text("x")
        assert names(find_documents([root])) == ["a.jsonl.gz"]

    def test_the_innermost_documents_folder_counts_unless_one_has_a_manifest(self, write_documents, tmp_path):
        root = write_documents([DOCUMENT], "documents/deep/a.jsonl.gz", root="documents/c")
        (found,) = find_documents([root / "documents/documents/deep/a.jsonl.gz"])
        assert (found.root, found.tree) == (root / "documents", "deep/a.jsonl.gz")
        (root / "manifest.json").write_text('{"artifact": "documents", "format_version": 1, "files": []}')
        (found,) = find_documents([root])
        assert (found.root, found.tree) == (root, "documents/deep/a.jsonl.gz")
        assert found.attributes_path("n") == root / "attributes/n/documents/deep/a.jsonl.gz"

    def test_a_file_outside_a_documents_folder_has_no_attributes(self, tmp_path):
        (tmp_path / "x.jsonl").write_bytes(encode_json(DOCUMENT))
        (found,) = find_documents([tmp_path / "x.jsonl"])
        assert found.name == "x.jsonl"
        with pytest.raises(UserError, match="no folder called documents"):
            found.attributes_path("n")

    @pytest.mark.parametrize(
        ("item", "message"),
        [("missing", "no such file"), ("*.nothing", "no document files"), ("a.csv", "not a file of documents")],
    )
    def test_what_names_no_documents_is_refused(self, tmp_path, item, message):
        (tmp_path / "a.csv").write_text("x")
        with pytest.raises(UserError, match=message):
            find_documents([tmp_path / item])

    @pytest.mark.parametrize(
        ("manifest", "message"),
        [
            ({"artifact": "tokens", "format_version": 1}, "a tokens artifact"),
            ({"artifact": "documents", "format_version": 99}, "format version 99"),
            ({"artifact": "documents", "format_version": 1, "files": [{"path": "documents/x.jsonl"}]}, "not there"),
        ],
    )
    def test_a_manifest_of_another_kind_or_with_lost_files_is_refused(self, write_documents, manifest, message):
        root = write_documents([DOCUMENT])
        (root / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match=message):
            find_documents([root])


class TestReadRows:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"", "blank line"),
            (b"{", "not JSON: "),
            (b'{"id": "1", "text": NaN}', "not JSON: "),
            (b"[" * 100_000, "nested too deep"),
            (b'{"id": "1", "text": "x", "source": "s", "n": 1e999}', "a number out of range"),
            (b'{"id": "1", "text": "\xff", "source": "s"}', "invalid UTF-8"),
            (b'{"id": "1", "text": "\\ud800", "source": "s"}', "not JSON: "),
            (b"[1]", "not a JSON object"),
            (b'{"text": "x", "source": "s"}', "no id"),
            (b'{"id": 1, "text": "x", "source": "s"}', "id is not a string"),
            (b'{"id": "1", "source": "s"}', "no text"),
            (b'{"id": "1", "text": null, "source": "s"}', "text is not a string"),
            (b'{"id": "1", "text": "x"}', "no source"),
            (b'{"id": "1", "text": "x", "source": null}', "source is not a string"),
        ],
    )
    def test_a_line_that_is_no_document_has_its_reason(self, line, reason):
        document, found = parse_document(line)
        assert document is None
        assert found is not None
        assert found.startswith(reason)

    def test_every_physical_line_comes_out_once(self, write_documents):
        root = write_documents([DOCUMENT, b"{", DOCUMENT | {"id": "2", "extra": [1]}])
        rows = list(read_rows(root / "documents/a.jsonl.gz"))
        assert [(row.line, row.document and row.document["id"]) for row in rows] == [(1, "1"), (2, None), (3, "2")]
        assert rows[2].document == DOCUMENT | {"id": "2", "extra": [1]}

    @pytest.mark.parametrize("suffix", ["gz", "zst"])
    def test_a_file_cut_in_the_middle_gives_what_is_before_and_then_one_failure(self, tmp_path, suffix):
        lines = b"".join(encode_json(DOCUMENT | {"id": str(i), "text": f"{i * 7919}"}) + b"\n" for i in range(5000))
        packed = gzip.compress(lines) if suffix == "gz" else zstandard.ZstdCompressor().compress(lines)
        path = tmp_path / f"a.jsonl.{suffix}"
        path.write_bytes(packed[: len(packed) * 9 // 10])
        *whole, last = read_rows(path)
        assert [row.document["id"] for row in whole if row.document] == [str(i) for i in range(len(whole))]
        assert last.line == len(whole) + 1
        assert "damaged or cut off" in (last.reason or "")

    def test_a_file_that_is_not_compressed_despite_its_name_is_one_failure(self, tmp_path):
        (tmp_path / "a.jsonl.gz").write_bytes(encode_json(DOCUMENT) + b"\n")
        (row,) = read_rows(tmp_path / "a.jsonl.gz")
        assert row.line == 1
        assert "damaged" in (row.reason or "")

    def test_an_empty_file_has_no_rows(self, tmp_path):
        (tmp_path / "a.jsonl").write_bytes(b"")
        assert list(read_rows(tmp_path / "a.jsonl")) == []


@given(st.lists(st.fixed_dictionaries({"id": st.text(), "text": st.text(), "source": st.text()})))
def test_documents_read_back_as_they_were_written(documents):
    lines = [encode_json(document) for document in documents]
    assert [parse_document(line) for line in lines] == [(document, None) for document in documents]


@given(st.text())
def test_blank_is_what_strip_leaves_nothing_of(text):
    assert is_blank(text) == (not text.strip())


class TestDocumentsArtifact:
    def write(self, root: Path, max_failed: int) -> None:
        with documents_artifact(root, max_failed) as artifact:
            with ShardWriter(artifact.folder, lambda part: f"documents/a-{part}.jsonl.gz", 8) as writer:
                assert writer.keep(DOCUMENT) == ("documents/a-0.jsonl.gz", 1)
                assert writer.keep({"id": "2", "text": "über", "source": "t"}) == ("documents/a-0.jsonl.gz", 2)
                assert writer.keep(DOCUMENT | {"id": "3"}) == ("documents/a-1.jsonl.gz", 1)
                writer.drop("blank text")
                writer.fail("input.jsonl", 7, "not JSON")
            artifact.add(writer.shard)

    def test_manifest_counts_everything(self, tmp_path, contents):
        self.write(tmp_path / "x", max_failed=1)
        files = contents(tmp_path / "x")
        assert list(files) == [
            "documents/a-0.jsonl.gz",
            "documents/a-1.jsonl.gz",
            "manifest.json",
            "quarantine.jsonl",
        ]
        assert json.loads(files["manifest.json"]) == {
            "artifact": "documents",
            "format_version": 1,
            "files": [
                {"path": "documents/a-0.jsonl.gz", "documents": 2, "text_bytes": 8},
                {"path": "documents/a-1.jsonl.gz", "documents": 1, "text_bytes": 3},
            ],
            "sources": {"s": {"documents": 2, "text_bytes": 6}, "t": {"documents": 1, "text_bytes": 5}},
            "counts": {"read": 5, "kept": 3, "dropped": 1, "failed": 1},
        }
        assert files["quarantine.jsonl"] == b'{"file":"input.jsonl","line":7,"reason":"not JSON"}\n'

    def test_too_many_failures_leave_only_the_quarantine_until_a_run_succeeds(self, tmp_path):
        with pytest.raises(UserError, match=r"1 records failed, 0 are allowed.*not JSON \(input.jsonl, line 7\)"):
            self.write(tmp_path / "x", max_failed=0)
        assert [path.name for path in tmp_path.iterdir()] == ["x.quarantine.jsonl"]
        self.write(tmp_path / "x", max_failed=1)
        assert [path.name for path in tmp_path.iterdir()] == ["x"]
