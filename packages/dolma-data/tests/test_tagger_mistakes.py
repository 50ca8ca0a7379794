"""What a user is told of an exception in a tagger of their own: a line, not a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dolma_data.taggers.raised import describe

MODULE = """
from dolma_data.batch import whole_documents
from dolma_data.taggers import tagger


def count(text):
    if "bad" in text:
        raise ValueError("no digits\\nin it")
    return len(text)


@tagger({name!r}, types=("t",), source="none"{more})
def own({parameters}):
    {body}
"""
LENGTHS = "yield whole_documents(batch, 't', [count(text) for text in batch.texts])"
TOGETHER = "if len(batch) > 1: raise KeyError('two')\n    return [whole_documents(batch, 't', 1)]"
Tag = Callable[..., int]


@pytest.fixture
def own_tagger(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., list[str]]:
    """Options that name a tagger with this body, in a file of its own."""

    def write(body: str = LENGTHS, parameters: str = "batch", more: str = "") -> list[str]:
        name = f"own_{abs(hash(request.node.name))}"
        file = tmp_path / "rules.py"
        file.write_text(MODULE.format(name=name, body=body, parameters=parameters, more=more))
        return ["--taggers", "char_length_v1", name, "--experiment", "x", "--tagger-modules", str(file)]

    return write


@pytest.fixture
def corpus(write_documents: Any) -> Path:
    rows = [{"id": str(k), "text": f"text {k}", "source": "s"} for k in range(6)]
    write_documents(rows, "a.jsonl.gz")
    rows[4]["text"] = "a bad text"
    root: Path = write_documents([b"{", *rows], "b.jsonl.gz")
    return root


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_exception_names_tagger_code_file_and_line(
    processes: str, corpus: Path, own_tagger: Any, dolma: Tag, tmp_path: Path, capsys: Any
) -> None:
    options = own_tagger()
    command = ["tag", "--documents", corpus, *options, "--max-failed", "1", "--processes", processes]
    assert dolma(*command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        f"error: the tagger {options[2]!r} raised ValueError: no digits in it ({tmp_path}/rules.py, line 8) "
        f"({corpus}/documents/b.jsonl.gz, line 6); mend the tagger; --debug shows where it came from"
    )
    assert not (corpus / "attributes/x").exists()
    assert not list(corpus.rglob("*.lock.partial"))


def test_what_no_document_brings_about_by_itself_names_the_file(
    corpus: Path, own_tagger: Any, dolma: Tag, tmp_path: Path, capsys: Any
) -> None:
    assert dolma("tag", "--documents", corpus / "documents/a.jsonl.gz", *own_tagger(TOGETHER)) == 2
    told = f"raised KeyError: 'two' ({tmp_path}/rules.py, line 14) ({corpus}/documents/a.jsonl.gz);"
    assert told in capsys.readouterr().err


def test_a_function_that_takes_something_else_is_told(corpus: Path, own_tagger: Any, dolma: Tag, capsys: Any) -> None:
    assert dolma("tag", "--documents", corpus, *own_tagger(parameters="batch, more"), "--max-failed", "1") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "raised TypeError: own() missing 1 required positional argument: 'more'" in error
    assert f"({corpus}/documents/a.jsonl.gz, line 1)" in error


def test_with_debug_it_is_the_exception_itself(corpus: Path, own_tagger: Any, dolma: Tag) -> None:
    with pytest.raises(ValueError, match="no digits"):
        dolma("tag", "--documents", corpus, *own_tagger(), "--max-failed", "1", "--debug")


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ("import nowhere\n", 1, "ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1\ny = {}['key']\n", 2, "KeyError: 'key'"),
        ("x = 1\n\nif x\n", 3, "SyntaxError: expected ':'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(
    body: str, line: int, what: str, corpus: Path, dolma: Tag, tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "rules.py"
    file.write_text(body)
    assert dolma("tag", "--documents", corpus, "--taggers", "mine", "--tagger-modules", file) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"cannot be imported: {what}" in error
    assert f"({file}, line {line}); mend the file" in error


def test_what_this_package_raises_is_its_own_mistake() -> None:
    from dolma_data.batch import whole_documents

    with pytest.raises(TypeError) as raised:
        whole_documents(None, "t", 1)  # type: ignore[arg-type]
    assert "test_tagger_mistakes.py, line" in str(describe(raised.value))
    assert describe(raised.value.with_traceback(raised.tb.tb_next)) is None
