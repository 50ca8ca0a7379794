from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

TEXT = "Write to me@example.org today.\nA line that stands twice.\n"
ROWS = [
    {"id": "1", "source": "web", "text": TEXT},
    {"id": "2", "source": "web", "text": "A line that stands twice.\nshort"},
    {"id": "2", "source": "books", "text": "Ein anderes Buch mit genügend vielen Wörtern darin."},
]
KEY = "rules__gopher_v2__word_count"
EXCLUDE = f"$.attributes[?(@.{KEY}[0][2] < 7)]"
EMAIL = "$.attributes.rules__pii_regex_with_counts_fast_v2__EMAIL_ADDRESS"


@pytest.fixture
def corpus(dolma: Any, write_documents: Any, tmp_path: Path) -> Path:
    """A tagged and deduplicated corpus; returns the configuration of its mixture."""
    root = write_documents(ROWS)
    taggers = ("gopher_v2", "pii_regex_with_counts_fast_v2")
    assert dolma("tag", "--documents", root, "--experiment", "rules", "--taggers", *taggers) == 0
    name = ("--dedupe.paragraphs.attribute-name", "repeated")
    assert dolma("dedupe", "--documents", root, *name) == 0
    stream = {
        "name": "all",
        "documents": [str(root)],
        "attributes": ["rules"],
        "output": {"path": str(tmp_path / "mixed")},
        "filter": {"exclude": [EXCLUDE]},
        "span_replacement": [{"span": EMAIL, "min_score": 0.5, "replacement": "|||EMAIL|||"}],
    }
    path = tmp_path / "mix.yaml"
    path.write_text(yaml.safe_dump({"streams": [stream]}))
    return path


def account(dolma: Any, capsys: Any, *arguments: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert dolma("why", *arguments, "--json") == 0
    return list(json.loads(capsys.readouterr().out))


def test_a_kept_document_is_told_with_its_replacements(dolma: Any, corpus: Path, capsys: Any, tmp_path: Path) -> None:
    (told,) = account(dolma, capsys, "1", "-c", corpus)
    assert told["dropped_by"] is None
    assert told["written_to"] is None
    assert told["rules"] == [
        {"kind": "exclude", "rule": EXCLUDE, "matches": False, "looked_at": {KEY: [[0, len(TEXT), 9.0]]}}
    ]
    (replaced,) = told["replaced"]
    assert (replaced["start"], replaced["end"], replaced["text"]) == (9, 23, "me@example.org")
    assert replaced["replacement"] == "|||EMAIL|||"
    assert dolma("mix", "-c", corpus) == 0
    (told,) = account(dolma, capsys, "1", "-c", corpus)
    assert told["written_to"] == f"{tmp_path}/mixed/documents/all-0000.jsonl.gz, line 1"


def test_a_dropped_document_names_the_rule_the_value_and_the_match(dolma: Any, corpus: Path, capsys: Any) -> None:
    (told,) = account(dolma, capsys, "2", "-c", corpus, "--source", "web")
    assert told["dropped_by"] == EXCLUDE
    assert told["rules"][0]["matches"]
    folders = {folder["name"]: folder for folder in told["attributes"]}
    assert not folders["repeated"]["joined"]
    assert folders["repeated"]["spans"] == {"repeated": [[0, 26, 1, "A line that stands twice."]]}
    (match,) = folders["repeated"]["matches"]
    assert (match["first_id"], match["first_source"]) == ("1", "web")


def test_the_text_form_says_it_in_lines(dolma: Any, corpus: Path, capsys: Any) -> None:
    capsys.readouterr()
    assert dolma("why", "2", "-c", corpus) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("'2' of 'web': ")
    assert f"    exclude matches: {EXCLUDE}" in lines
    assert f"        {KEY} = [[0, 31, 6.0]]" in lines
    assert f"dropped: {EXCLUDE}" in lines
    assert lines[-1].startswith("kept: ")  # the document of the other source


def test_without_streams_the_attributes_are_told(dolma: Any, corpus: Path, capsys: Any, tmp_path: Path) -> None:
    (told,) = account(dolma, capsys, "1", "--documents", tmp_path / "corpus")
    assert [folder["name"] for folder in told["attributes"]] == ["repeated", "rules"]
    assert "rules" not in told


def test_an_unknown_id_is_one_line(dolma: Any, corpus: Path, capsys: Any) -> None:
    assert dolma("why", "nobody", "-c", corpus) == 2
    assert "no document has the id 'nobody'" in capsys.readouterr().err


def test_attributes_that_do_not_fit_the_document_are_one_line(dolma: Any, corpus: Path, capsys: Any) -> None:
    settings = yaml.safe_load(corpus.read_text())
    settings["streams"][0]["span_replacement"][0]["span"] = f"$.attributes.{KEY}[0][2]"
    corpus.write_text(yaml.safe_dump(settings))
    assert dolma("why", "1", "-c", corpus) == 2
    assert "not a span: 9.0" in capsys.readouterr().err.splitlines()[-1]
