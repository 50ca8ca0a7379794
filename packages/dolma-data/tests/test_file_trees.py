"""Which files below a folder are read: every one, or an error that names what is in the way."""

import os
from pathlib import Path

import pytest

from dolma_data.documents import find_documents
from dolma_data.errors import UserError
from dolma_data.file_trees import files_below


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    return path


def names_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder, lambda name: name.endswith(".jsonl"))]


def test_files_come_sorted_by_path_and_others_are_passed_over(tmp_path):
    for name in ("b.jsonl", "a/z.jsonl", "a.b/y.jsonl", "a/notes.txt"):
        write(tmp_path / name)
    (tmp_path / "folder.jsonl").mkdir()
    assert names_below(tmp_path) == ["a.b/y.jsonl", "a/z.jsonl", "b.jsonl"]


def test_linked_folders_and_files_are_read(tmp_path):
    write(tmp_path / "elsewhere" / "x.jsonl")
    corpus = tmp_path / "corpus"
    write(corpus / "documents" / "a.jsonl")
    (corpus / "documents" / "linked").symlink_to(tmp_path / "elsewhere")
    (corpus / "documents" / "one.jsonl").symlink_to(tmp_path / "elsewhere" / "x.jsonl")
    assert [file.tree for file in find_documents([corpus])] == ["a.jsonl", "linked/x.jsonl", "one.jsonl"]


def test_link_to_a_folder_above_is_refused(tmp_path):
    write(tmp_path / "a" / "b" / "x.jsonl")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match=r"leads back to a folder above it \(.*/a/b/up\); remove the link"):
        names_below(tmp_path)


def test_link_to_nowhere_is_refused_where_it_would_be_read(tmp_path):
    write(tmp_path / "x.jsonl")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone")
    assert names_below(tmp_path) == ["x.jsonl"]
    (tmp_path / "y.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"leads nowhere \(.*/y\.jsonl\)"):
        names_below(tmp_path)


def test_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    write(tmp_path / "closed" / "x.jsonl")
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="closed"):
        names_below(tmp_path)


def test_name_that_is_no_text_is_refused_alone_and_in_a_folder(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.jsonl")
    write(Path(path))
    for given in (str(tmp_path), path):
        with pytest.raises(UserError, match=r"the name of the file is not UTF-8 \(.*/n�\.jsonl\); rename it"):
            find_documents([given])


def test_empty_path_is_not_the_folder_one_stands_in(tmp_path, monkeypatch):
    write(tmp_path / "documents" / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert len(find_documents(["."])) == 1
    with pytest.raises(UserError, match="an empty path"):
        find_documents([""])
