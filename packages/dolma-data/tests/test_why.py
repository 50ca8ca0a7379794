from __future__ import annotations

import gzip
import json
from collections.abc import Callable
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
        "span_replacement": [{"span": EMAIL, "min_score": 0.5, "replacement": "|||EMAIL {}|||"}],
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
    assert replaced["replacement"] == "|||EMAIL me@example.org|||"
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


def told_of(dolma: Any, capsys: Any, name: str, config: Path) -> list[str]:
    capsys.readouterr()
    assert dolma("why", name, "-c", config) == 0
    return list(capsys.readouterr().out.splitlines())


def put_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


@pytest.fixture
def fates(tmp_path: Path) -> Callable[..., Path]:
    """A corpus whose attributes are written by hand, two of its lines failed; returns a mixture of it."""
    rows: list[tuple[str, str, str, dict[str, Any]]] = [
        ("plain", "web", "A text that is long enough.", {}),
        ("poor", "web", "A text that is long enough.", {"quality": [[0, 27, 0.25]]}),
        ("other", "books", "A text that is long enough.", {"quality": [[0, 27, 0.25]]}),
        ("short", "web", "a@b.org is the address", {"mail": [[0, 7, 1.0]]}),
        ("blank", "web", "a@b.org", {"mail": [[0, 7, 1.0]]}),
        ("spaces", "web", " \n ", {"mail": [[0, 1, 1.0]]}),
        ("mails", "web", "a@b.org and c@d.org, x@y.org.", {"mail": [[0, 7, 1], [2, 7, 2], [12, 19, 0.4], [21, 28, 9]]}),
        ("many", "web", "a " * 12 + "that is long enough", {"mail": [[2 * k, 2 * k + 1, 1] for k in range(12)]}),
        ("wrong", "web", "A text that is long enough.", {"quality": [[0, 27, 0.9]], "kind": [[0, 2, 1]]}),
    ]
    documents = [json.dumps({"id": name, "source": source, "text": text}) for name, source, text, _ in rows]
    attributes = [json.dumps({"id": name, "source": source, "attributes": given}) for name, source, _, given in rows]
    documents += [
        '{"id": "typed", "source": "web", "text": 5}',
        '{"id": 17, "source": "web", "text": "x"}',
        '{"id": "cut',
    ]
    attributes += ['{"id": null, "attributes": {}, "source": null, "quarantined": "so"}'] * 3
    put_lines(tmp_path / "c/documents/a.jsonl.gz", documents)
    put_lines(tmp_path / "c/attributes/hand/a.jsonl.gz", attributes)

    def mixture(exclude: str, syntax: str = "jsonpath", include: tuple[str, ...] = ()) -> Path:
        stream = {
            "name": "all",
            "documents": [str(tmp_path / "c")],
            "attributes": ["hand"],
            "output": {"path": str(tmp_path / "mixed"), "min_text_length": 20},
            "filter": {"syntax": syntax, "include": list(include), "exclude": [exclude]},
            "span_replacement": [
                {"span": "$.attributes.mail", "min_score": 0.5, "max_score": 5, "replacement": ""},
            ],
        }
        path = tmp_path / "mix.yaml"
        path.write_text(yaml.safe_dump({"streams": [stream], "max_failed": 3}))
        return path

    return mixture


QUALITY = "$.attributes[?(@.quality[0][2] < 0.5)]"


def test_the_fate_of_a_document_is_told_for_every_kind_of_rule(fates: Any, dolma: Any, capsys: Any) -> None:
    config = fates(QUALITY)
    assert dolma("mix", "-c", config) == 0
    fate = {name: told_of(dolma, capsys, name, config)[-1] for name in ("plain", "poor", "short", "blank", "spaces")}
    written = fate.pop("plain")
    assert written.startswith("kept: ")
    assert written.endswith("mixed/documents/all-0000.jsonl.gz, line 1")
    assert fate == {
        "poor": f"dropped: {QUALITY}",
        "short": "dropped: min_text_length 20, 14 bytes are left",
        "blank": "dropped: min_text_length 20, 0 bytes are left",
        "spaces": "dropped: blank text",
    }


def test_a_text_that_replacements_leave_blank_is_told_so(fates: Any, dolma: Any, capsys: Any) -> None:
    config = fates(QUALITY)
    config.write_text(config.read_text().replace("min_text_length: 20", "min_text_length: 0"))
    assert told_of(dolma, capsys, "blank", config)[-2:] == [
        "    replaces [0, 7) 'a@b.org' by '', score 1, min_score 0.5, max_score 5: $.attributes.mail",
        "dropped: blank text after the replacements",
    ]


def test_rules_of_jq_and_an_include_that_is_not_met_are_told(fates: Any, dolma: Any, capsys: Any) -> None:
    config = fates(".attributes.quality != null and .attributes.quality[0][2] < 0.5", "jq", ('.source == "web"',))
    rule = "exclude matches: .attributes.quality != null and .attributes.quality[0][2] < 0.5"
    shown = [f"    {rule}", "        quality = [[0, 27, 0.25]]"]
    include = '    include matches: .source == "web"'
    lines = told_of(dolma, capsys, "poor", config)
    assert lines[-6:] == ["stream all", include, "        source = web", *shown, f"dropped: {rule[17:]}"]
    lines = told_of(dolma, capsys, "other", config)
    include = include.replace("matches", "does not match")
    assert lines[-6:] == ["stream all", include, "        source = books", *shown, "dropped: no include rule matches"]


def test_a_program_that_fails_where_a_document_is_left_out_already_stops_nothing(
    fates: Any, dolma: Any, capsys: Any
) -> None:
    config = fates(".attributes.kind[0][2] | ascii_downcase", "jq", ('.source == "books"',))
    lines = told_of(dolma, capsys, "wrong", config)
    assert lines[-3].startswith("    exclude fails: .attributes.kind[0][2] | ascii_downcase (")
    assert lines[-1] == "dropped: no include rule matches"
    config = fates(".attributes.kind[0][2] | ascii_downcase", "jq")
    assert dolma("why", "wrong", "-c", config) == 2
    assert "c/documents/a.jsonl.gz, line 9" in capsys.readouterr().err


def test_replacements_are_told_with_their_limits_and_what_is_passed_over(fates: Any, dolma: Any, capsys: Any) -> None:
    config = fates(QUALITY)
    config.write_text(config.read_text().replace("min_text_length: 20", "min_text_length: 2"))
    lines = [line for line in told_of(dolma, capsys, "mails", config) if line.startswith("    replace")]
    limits = "min_score 0.5, max_score 5: $.attributes.mail"
    assert lines == [
        f"    replaces [0, 7) 'a@b.org' by '', score 1, {limits}",
        f"    replaces [2, 7) 'b.org' by '', score 2, {limits}; passed over, since it overlaps an earlier one",
    ]
    assert told_of(dolma, capsys, "many", config)[-3:] == [
        f"    replaces [18, 19) 'a' by '', score 1, {limits}",
        "    replaces: 2 more",
        "kept: not written yet, or under another configuration",
    ]
    config.write_text(config.read_text().replace(QUALITY, "$.attributes[?(@.mail[0][2] == 1)]"))
    assert "    would replace: 2 more" in told_of(dolma, capsys, "many", config)


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [("typed", 10, "text is not a string"), ("17", 11, "id is not a string")],
)
def test_a_line_that_is_no_document_is_told_with_its_reason(
    fates: Any, dolma: Any, capsys: Any, tmp_path: Path, name: str, line: int, reason: str
) -> None:
    place = f"{tmp_path}/c/documents/a.jsonl.gz"
    assert told_of(dolma, capsys, name, fates(QUALITY)) == [
        f"{name!r}: {place}, line {line}",
        f"failed: {reason}; no command uses the line",
    ]
    assert account(dolma, capsys, name, "-c", fates(QUALITY)) == [
        {"id": name, "file": place, "line": line, "failed": reason}
    ]


def test_matches_are_cut_and_those_of_another_document_with_the_id_are_not_told(
    write_documents: Any, dolma: Any, capsys: Any, tmp_path: Path
) -> None:
    line = "A line that stands in every one of them.\n"
    texts = [line, line + "b\n" * 13, line + "c is short", "c is short"]
    root = write_documents([{"id": "same", "source": "s", "text": text} for text in texts])
    options = ("--dedupe.paragraphs.attribute-name", "d", "--dedupe.skip-empty")
    assert dolma("dedupe", "--documents", root, *options) == 0
    told = account(dolma, capsys, "same", "--documents", root)
    spans = [[(row["start"], row["end"]) for row in one["attributes"][0]["matches"]] for one in told]
    assert spans == [[], [(0, 41), *((41 + 2 * k, 43 + 2 * k) for k in range(1, 13))], [(0, 41)], [(0, 10)]]
    assert dolma("why", "same", "--documents", root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("    match: 3 more") == 1
    first = "first_id 'same', first_source 's', first_file 'a.jsonl.gz', first_line 3"
    assert lines[-1] == f"    match: start 0, end 10, {first}"


def test_every_part_of_a_match_with_evaluation_text_is_told(
    write_documents: Any, dolma: Any, capsys: Any, tmp_path: Path
) -> None:
    put_lines(tmp_path / "t.jsonl.gz", [json.dumps({"id": "question", "source": "quiz", "text": "one two three four"})])
    root = write_documents([{"id": "1", "source": "s", "text": "so one two three it is"}])
    options = ("--texts", tmp_path / "t.jsonl.gz", "--ngram-length", "2", "--ngram-threshold", "0.5")
    assert dolma("decontaminate", "--documents", root, *options) == 0
    capsys.readouterr()
    assert dolma("why", "1", "--documents", root) == 0
    unit = "unit_id 'question', unit_source 'quiz', unit_domain 'quiz', kind 'item'"
    assert capsys.readouterr().out.splitlines()[-1] == f"    match: start 3, end 16, {unit}, score {2 / 3}"


def test_documents_with_one_id_are_found_by_their_text(
    write_documents: Any, dolma: Any, capsys: Any, tmp_path: Path
) -> None:
    root = write_documents([{"id": "same", "source": "s", "text": text} for text in ("first", "second", "second")])
    config = tmp_path / "mix.yaml"
    stream = {"name": "all", "documents": [str(root)], "output": {"path": str(tmp_path / "mixed")}}
    config.write_text(yaml.safe_dump({"streams": [stream]}))
    assert dolma("mix", "-c", config) == 0
    told = account(dolma, capsys, "same", "-c", config)
    assert [one["written_to"][-6:] for one in told] == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize(
    "row", ['{"id":"1"}', '{"id":"1","attributes":5}', '{"id":"1","attributes":{"k":[[1]]}}', "[]", "{"]
)
def test_rows_that_are_no_attributes_are_named(dolma, tmp_path, capsys, row):
    for name, line in (("documents", '{"id":"1","text":"a","source":"s"}'), ("attributes/x", row)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.jsonl").write_text(line + "\n")
    assert dolma("why", "1", "--documents", tmp_path) == 2
    assert "not a row of attributes" in capsys.readouterr().err
