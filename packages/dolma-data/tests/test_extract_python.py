"""Documents out of the installed Python."""

from __future__ import annotations

import json

import pytest

from dolma_data.extract import python as extract_python
from dolma_data.extract.python import Module, built_in_docstrings, docstrings, find_modules, read_source

SOURCE = '''"""Module.

    Indented.
"""

class A(B):
    """Class A."""
    class Inner:
        "Inner."
    def method(self):
        """Method."""
        def nested():
            """Not taken."""
    def silent(self): pass

if True:
    async def f():
        """f."""
else:
    def f():
        """other f."""
try:
    pass
except ImportError:
    def g():
        """g."""
'''


def test_docstrings_stand_in_order_under_their_qualified_names():
    assert docstrings(SOURCE, "p.m").split("\n\n\n") == [
        "p.m\n\nModule.\n\nIndented.",
        "p.m.A\n\nClass A.",
        "p.m.A.Inner\n\nInner.",
        "p.m.A.method\n\nMethod.",
        "p.m.f\n\nf.",
        "p.m.f\n\nother f.",
        "p.m.g\n\ng.",
    ]
    assert docstrings("x = 1", "m") == ""


def test_modules_are_found_without_tests_and_installed_packages(tmp_path):
    for name in (
        "alone.py",
        "p/__init__.py",
        "p/sub/m.py",
        "p/tests/t.py",
        "test/x.py",
        "site-packages/q.py",
        "p/__pycache__/m.py",
        "config-3/c.py",
        "_sysconfigdata_linux.py",
        "p/data.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    expected = [
        Module("alone", "modules", "alone.py"),
        Module("p", "p", "p/__init__.py"),
        Module("p.sub.m", "p", "p/sub/m.py"),
    ]
    assert find_modules(tmp_path) == expected
    with_tests = {module.file for module in find_modules(tmp_path, include_tests=True)}
    assert with_tests == {module.file for module in expected} | {"p/tests/t.py", "test/x.py"}


def test_source_is_read_in_its_declared_encoding(tmp_path):
    (tmp_path / "m.py").write_bytes("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    assert read_source(tmp_path / "m.py").endswith("x = 'é'\n")


def test_built_in_docstrings_leave_out_the_generic_ones_of_operators():
    text = built_in_docstrings("itertools")
    assert text.startswith("itertools\n\nFunctional tools")
    assert "itertools.chain.from_iterable\n\n" in text
    assert "Return repr(self)" not in text


def test_a_slice_of_the_library(dolma, read_jsonl, tmp_path):
    out = tmp_path / "out"
    assert dolma("extract", "python-docs", "--packages", "json,itertools,bisect,topics", "--output", out) == 0
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert list(manifest["sources"]) == ["python_code", "python_docs"]
    rows = {row["id"]: row for file in manifest["files"] for row in read_jsonl(out / file["path"])}
    decoder = rows["python_code/json/decoder"]
    assert decoder["text"] == (extract_python.library() / "json/decoder.py").read_text()
    assert decoder["metadata"] == {
        "file": "json/decoder.py",
        "module": "json.decoder",
        "package": "json",
        "kind": "source",
    }
    assert (
        "json.decoder.JSONDecoder.decode\n\nReturn the Python representation"
        in rows["python_docs/json/decoder"]["text"]
    )
    assert rows["python_docs/bisect"]["metadata"]["package"] == "modules"
    assert rows["python_docs/built-in/itertools"]["metadata"]["kind"] == "docstring"
    assert rows["python_docs/topics/assert"]["metadata"] == {
        "file": "pydoc_data/topics.py",
        "module": "assert",
        "package": "topics",
        "kind": "topic",
    }
    assert all(row["text"].strip() for row in rows.values())
    assert manifest["counts"]["kept"] == len(rows)


def test_processes_do_not_change_the_bytes(dolma, contents, tmp_path, monkeypatch):
    monkeypatch.setattr("dolma_data.extract.extraction.PYTHON_UNIT_BYTES", 10_000)
    for processes in (1, 2):
        out = tmp_path / str(processes)
        arguments = ("extract", "python-docs", "--packages", "json", "bisect", "--output", out)
        assert dolma(*arguments, "--processes", processes) == 0
    one = contents(tmp_path / "1")
    assert len(one) > 5
    assert one == contents(tmp_path / "2")


def test_an_unknown_package_is_refused_with_the_nearest_name(dolma, tmp_path, capsys):
    assert dolma("extract", "python-docs", "--packages", "jsno", "--output", tmp_path / "out") == 2
    assert "did you mean json?" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"# coding: no-such-encoding\n", b"x = '\xff'\n", b"def f(:\n"])
def test_a_source_that_cannot_be_read_fails_with_its_place(dolma, tmp_path, capsys, monkeypatch, content):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/good.py").write_text('"""Good."""\n')
    (tmp_path / "lib/bad.py").write_bytes(content)
    monkeypatch.setattr("dolma_data.extract.extraction.library", lambda: tmp_path / "lib")
    assert dolma("extract", "python-docs", "--packages", "good,bad", "--output", tmp_path / "out") == 2
    assert "bad.py, line 1" in capsys.readouterr().err
    assert (
        dolma("extract", "python-docs", "--packages", "good,bad", "--output", tmp_path / "out", "--max-failed", 2) == 0
    )
    counts = json.loads((tmp_path / "out/manifest.json").read_bytes())["counts"]
    assert counts["failed"] == (1 if content.startswith(b"def") else 2)
    assert counts["kept"] == (3 if content.startswith(b"def") else 2)
