"""Evaluation text from suites, requests and plain texts; n-gram overlap; the report."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.batch import Batch
from dolma_data.config.decontaminate import EvaluationRule
from dolma_data.decontaminate import contamination
from dolma_data.decontaminate.contamination import make_matcher, self_test, too_short
from dolma_data.decontaminate.evaluation_texts import Unit, read_units
from dolma_data.errors import UserError

QUERY = "Question: which of these seven technologies was developed most recently of all of them?\nAnswer:"
LINE = "Question: which of these seven technologies was developed most recently of all of them?"
BARE = "which of these seven technologies was developed most recently of all of them?"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows), mtime=0))
    return path


def request(doc_id: int, idx: int, continuation: str, **doc: Any) -> dict[str, Any]:
    body = {"context": "few-shot examples\n" + QUERY, "continuation": continuation}
    row = {"request_type": "loglikelihood", "doc": doc, "request": body, "idx": idx, "task_name": "quiz"}
    return row | {"doc_id": doc_id, "native_id": None, "label": 1}


def item(name: str, text: str) -> Unit:
    return Unit("item", name, "quiz", "quiz", text)


def test_requests_give_the_query_and_the_right_answer(tmp_path: Path) -> None:
    rows = [request(0, 0, " radio", query=QUERY), request(0, 1, " telephone", query=QUERY)]
    rows += [request(1_000_000, 1, " telephone", query="Answer:")]
    path = write_lines(tmp_path / "quiz" / "requests.jsonl.gz", rows)
    units = read_units(None, EvaluationRule(requests=(str(tmp_path),), ngram_length=5)).units
    assert {unit.id for unit in units} == {"quiz/0"}
    assert [(unit.part, unit.text) for unit in units] == [
        ("question", BARE),
        ("choice", "radio"),
        ("answer", "telephone"),
        ("whole", BARE + " telephone"),
        ("prompt", QUERY + " telephone"),
    ]
    units = read_units(None, EvaluationRule(requests=(str(path),))).units
    assert [(unit.kind, unit.part, unit.text) for unit in units] == [
        ("paragraph", "question", BARE),
        ("paragraph", "whole", BARE + " telephone"),
        ("paragraph", "prompt", LINE),
    ]
    assert (
        read_units(None, EvaluationRule(requests=(str(path),), minimum_words=2)).units[-1].text == "Answer: telephone"
    )


def test_passages_and_other_texts_of_an_item_are_parts_and_ids_are_none(tmp_path: Path) -> None:
    query = "Fuel -- Corn is grown.\nIt burns.\nQuestion: does corn burn?\nAnswer:"
    row = request(0, 1, " yes", query=query, title="Corn in the field", ind=7, key="a-b-c-d-e-f-g-h-i", choices=["no"])
    path = write_lines(tmp_path / "requests.jsonl.gz", [row])
    units = read_units(None, EvaluationRule(requests=(str(path),), ngram_length=13)).units
    assert [(unit.part, unit.text) for unit in units] == [
        ("question", "does corn burn?"),
        ("passage", "Fuel -- Corn is grown.\nIt burns."),
        ("answer", "yes"),
        ("whole", "Fuel -- Corn is grown.\nIt burns.\ndoes corn burn? yes"),
        ("prompt", query + " yes"),
        ("title", "Corn in the field"),
    ]


def test_items_of_data_sets_have_questions_answers_and_choices(tmp_path: Path) -> None:
    rows = [
        {"question": "how many?", "answer": "three"},
        {"question": "which one?", "choices": ["red", "green"], "answer": 1, "subject": "colours", "id": "m"},
        {"question": "what?", "choices": ["x"], "answer": 7},
    ]
    path = write_lines(tmp_path / "sums.jsonl.gz", rows)
    units = read_units(None, EvaluationRule(texts=(str(path),), ngram_length=13)).units
    assert [(unit.id, unit.part, unit.text) for unit in units] == [
        ("sums.jsonl.gz:1", "question", "how many?"),
        ("sums.jsonl.gz:1", "answer", "three"),
        ("sums.jsonl.gz:1", "whole", "how many? three"),
        ("m", "question", "which one?"),
        ("m", "answer", "green"),
        ("m", "whole", "which one? green"),
        ("m", "choice", "red"),
        ("sums.jsonl.gz:3", "question", "what?"),
        ("sums.jsonl.gz:3", "choice", "x"),
    ]


def test_a_question_alone_is_found_and_a_short_answer_is_not() -> None:
    rule = EvaluationRule(ngram_length=13)
    parts = [
        ("question", "What do the nine planets of our system all have in common"),  # 11 words: shorter than an n-gram
        ("answer", "they go round the same sun"),  # 6 words
        ("whole", "What do the nine planets of our system all have in common they go round the same sun"),
        ("choice", "each of them has at least one moon"),  # 8 words
    ]
    units = [Unit("item", "1", "quiz", "quiz", text, part) for part, text in parts]
    matcher = make_matcher(units, rule)
    assert too_short(matcher) == {1}

    def found(text: str) -> list[tuple[str | None, float]]:
        return [
            (units[hit.unit].part, hit.score) for hit in matcher.find(Batch([{"id": "d", "source": "s", "text": text}]))
        ]

    assert found("Quiz: what do the nine planets of our system all have in common?") == [("question", 1.0)]
    assert found("What do the nine planets of our system all have?") == []
    assert found("The planets: they go round the same sun.") == []
    assert found("I think each of them has at least one moon, or two.") == [("choice", 1.0)]
    assert found(" ".join(text for _, text in parts[:2])) == [("question", 1.0), ("whole", 1.0)]


def test_parts_need_as_many_words_whatever_the_ngrams_and_whole_texts_no_more_than_an_ngram() -> None:
    rule = EvaluationRule(ngram_length=3, ngram_minimum_words=5)
    texts = ["a b c", "a b c d", "a b c d e"]
    units = [Unit("item", str(k), "q", "q", text, part) for part in ("answer", "whole") for k, text in enumerate(texts)]
    assert too_short(make_matcher(units, rule)) == {0, 1}
    assert too_short(make_matcher(units, EvaluationRule(ngram_length=9, ngram_minimum_words=5))) == {0, 1, 3, 4}


def test_a_request_without_a_query_gives_its_context(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "requests.jsonl.gz", [request(0, 1, " then.", sentence="x")])
    units = read_units(None, EvaluationRule(requests=(str(path),), ngram_length=5)).units
    assert [(unit.part, unit.text) for unit in units] == [
        ("question", BARE),
        ("passage", "few-shot examples"),
        ("answer", "then."),
        ("whole", f"few-shot examples\n{BARE} then."),
        ("prompt", f"few-shot examples\n{QUERY} then."),
    ]


def test_suites_give_lines_of_thirteen_words_and_held_out_documents(tmp_path: Path) -> None:
    twelve = "one two three four five six seven eight nine ten eleven twelve"
    text = f"{twelve}\n  {twelve} thirteen\n{'. ! ' * 20}\n{twelve}-13"
    write_lines(tmp_path / "wiki/val/a.jsonl.gz", [{"id": "v", "text": text, "source": "wiki", "subdomain": "en"}])
    write_lines(tmp_path / "code/test/a.jsonl.gz", [{"id": "c", "text": f"{twelve} other", "source": "code"}])
    write_lines(tmp_path / "held_out.jsonl.gz", [{"source": "code", "id": "h", "group": "g"}])
    units = read_units(None, EvaluationRule(suites=(str(tmp_path),), exempt_sources=("code",))).units
    assert [(unit.kind, unit.source, unit.domain, unit.text) for unit in units] == [
        ("paragraph", "wiki", "en", f"{twelve} thirteen"),
        ("paragraph", "wiki", "en", f"{twelve}-13"),
        ("document", "code", "code", None),
    ]


def test_plain_texts_are_named_by_file_and_line_where_nothing_else_names_them(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "sums.jsonl.gz", [{"text": "a b c"}, {"text": "d e f", "id": "x", "source": "s"}])
    units = read_units(None, EvaluationRule(texts=(str(path),), minimum_words=3)).units
    assert [(unit.id, unit.source) for unit in units] == [("sums.jsonl.gz:1", "sums"), ("x", "s")]


def test_ngrams_are_found_whatever_case_punctuation_and_line_breaks() -> None:
    rule = EvaluationRule(ngram_length=4, ngram_threshold=0.75)
    units = [item("1", "Über one two three four five six"), item("2", "seven eight nine ten")]
    matcher = make_matcher(units, rule)
    text = "before ÜBER, one\ntwo (three) four; five? after. Seven eight nine TEN!"
    hits = matcher.find(Batch([{"id": "d", "source": "s", "text": text}]))
    assert [(text[hit.start : hit.end], units[hit.unit].id, hit.score) for hit in hits] == [
        ("ÜBER, one\ntwo (three) four; five", "1", 0.75),  # three of four n-grams
        ("Seven eight nine TEN", "2", 1.0),
    ]
    assert matcher.find(Batch([{"id": "d", "source": "s", "text": "one two three four and seven eight nine"}])) == []


def test_the_ngrams_of_a_text_may_stand_apart() -> None:
    rule = EvaluationRule(ngram_length=2, ngram_threshold=0.5)
    matcher = make_matcher([item("1", "a b c d e")], rule)
    text = "a b x c d"
    hits = matcher.find(Batch([{"id": "d", "source": "s", "text": text}]))
    assert [(text[hit.start : hit.end], hit.score) for hit in hits] == [("a b", 0.5), ("c d", 0.5)]


words = st.lists(st.sampled_from(["a", "bb", "Ü", "7", "x_y"]), min_size=1, max_size=8)


@given(st.lists(words, min_size=1, max_size=4), words, st.integers(1, 4))
def test_shares_are_those_of_sets_of_ngrams(texts: list[list[str]], document: list[str], length: int) -> None:
    def ngrams(found: list[str]) -> set[tuple[str, ...]]:
        return {tuple(found[k : k + length]) for k in range(len(found) - length + 1)}

    units = [item(str(k), " ".join(text)) for k, text in enumerate(texts)]
    matcher = make_matcher(units, EvaluationRule(ngram_length=length, ngram_threshold=0.01))
    hits = matcher.find(Batch([{"id": "d", "source": "s", "text": " ".join(document)}]))
    expected = {}
    for number, text in enumerate(texts):
        shared = ngrams(text) & ngrams(document)
        if shared:
            expected[number] = len(shared) / len(ngrams(text))
    assert {hit.unit: hit.score for hit in hits} == expected
    assert too_short(matcher) == {number for number, text in enumerate(texts) if len(text) < length}


@given(st.lists(words.map(" ".join), min_size=1, max_size=6), st.integers(1, 3))
def test_every_planted_text_is_found(texts: list[str], length: int) -> None:
    units = [item(str(k), text) for k, text in enumerate(dict.fromkeys(texts))]
    matcher = make_matcher(units, EvaluationRule(ngram_length=length, ngram_threshold=1.0))
    assert self_test(matcher, units, None) == len(units) - len(too_short(matcher))


def test_the_report_shows_by_source_and_item_what_was_hit(
    write_documents: Any, read_jsonl: Any, dolma: Any, tmp_path: Path
) -> None:
    rows = [request(0, 1, " telephone", query=QUERY), request(1, 1, " short", query="too short")]
    requests = write_lines(tmp_path / "requests.jsonl.gz", rows)
    root = write_documents(
        [
            {"id": "1", "text": f"Quiz night.\n{QUERY} telephone\n", "source": "web"},
            {"id": "2", "text": "nothing of the kind", "source": "web"},
        ]
    )
    options = ("--requests", requests, "--ngram-length", "8", "--report", tmp_path / "report")
    assert dolma("decontaminate", "--documents", root, *options) == 0
    first, second = read_jsonl(root / "attributes/decontamination/a.jsonl.gz")
    assert first["attributes"] == {"decontamination": [[12, 117, 1.0], [22, 98, 1.0], [22, 98, 6 / 7]]}
    assert second["attributes"] == {}
    matches = read_jsonl(root / "attributes/decontamination/matches.jsonl.gz")
    assert [(match["unit_id"], match["kind"], match["part"], match["score"]) for match in matches] == [
        ("quiz/0", "item", "prompt", 1.0),
        ("quiz/0", "item", "question", 1.0),
        ("quiz/0", "item", "whole", 6 / 7),  # the n-gram that goes over the label "Answer:" is missing
    ]
    report = json.loads((tmp_path / "report/report.json").read_bytes())
    assert report["documents"] == [
        {"source": "web", "documents": 2, "documents_hit": 1, "characters": 137, "characters_covered": 105}
    ]
    counts = {"units": 7, "units_found": 3, "items": 2, "items_compared": 1, "items_found": 1}
    assert report["evaluation"] == [{"source": "quiz"} | counts]
    assert [(found["part"], found["text"]) for found in report["found"]] == [
        ("question", BARE),
        ("whole", BARE + " telephone"),
        ("prompt", QUERY + " telephone"),
    ]
    assert report["found"][2]["places"][0]["text"] == QUERY + " telephone"
    readable = (tmp_path / "report/report.md").read_text()
    assert "| quiz | 7 | 3 | 2 | 1 | 1 |" in readable
    assert "question of an item, in 1 documents, best score 1.000" in readable
    assert f"- web `1` ({root}/documents/a.jsonl.gz, line 1), 12 to 117, score 1.000:" in readable
    assert f"```text\n{LINE}\n" in readable


def test_documents_of_one_id_are_told_apart_by_file_and_line(
    write_documents: Any, read_jsonl: Any, dolma: Any, tmp_path: Path
) -> None:
    requests = write_lines(tmp_path / "requests.jsonl.gz", [request(0, 1, " telephone", query=QUERY)])
    document = {"id": "1", "text": QUERY, "source": "web"}
    root = write_documents([b"cut", document, document])
    options = ("--requests", requests, "--ngram-length", "8", "--report", tmp_path / "report", "--max-failed", "1")
    assert dolma("decontaminate", "--documents", root, *options) == 0
    matches = read_jsonl(root / "attributes/decontamination/matches.jsonl.gz")
    assert {(match["file"], match["line"]) for match in matches} == {("a.jsonl.gz", 2), ("a.jsonl.gz", 3)}
    report = json.loads((tmp_path / "report/report.json").read_bytes())
    for found in report["found"]:
        assert found["documents"] == 2
        assert [place["line"] for place in found["places"]] == [2, 3]


def test_a_text_that_several_items_have_is_reported_for_each_and_short_items_are_counted(
    write_documents: Any, dolma: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = "one two ``` three <b>four</b> five"
    texts = write_lines(
        tmp_path / "t.jsonl.gz",
        [
            {"id": "1", "source": "a", "text": line},
            {"id": "1", "source": "b", "text": f"{line}\n{line}\nother words that are nowhere"},
            {"id": "2", "source": "b", "text": line},
            {"id": "3", "source": "b", "text": "too short\nas well"},
        ],
    )
    root = write_documents([{"id": "d", "text": f"x\n{line}\ny", "source": "web"}])
    options = ("--texts", texts, "--minimum-words", "4", "--report", tmp_path / "report")
    assert dolma("decontaminate", "--documents", root, *options) == 0
    assert "1 items of the evaluation have no line of 4 words and cannot be compared" in caplog.text
    report = json.loads((tmp_path / "report/report.json").read_bytes())
    counts = ("units", "units_found", "items", "items_compared", "items_found")
    assert [(row["source"], *map(row.get, counts)) for row in report["evaluation"]] == [
        ("a", 1, 1, 1, 1, 1),
        ("b", 3, 2, 3, 2, 2),
    ]
    (found,) = report["found"]
    assert (found["unit_source"], found["unit_id"], found["hits"]) == ("a", "1", 1)
    assert [(other["unit_source"], other["unit_id"]) for other in found["same_text"]] == [("b", "1"), ("b", "2")]
    readable = (tmp_path / "report/report.md").read_text()
    assert f"the same text: b: 1\n\nthe same text: b: 2\n\n````text\n{line}\n````" in readable


def test_the_best_score_of_a_text_is_that_of_its_fullest_copy_wherever_it_stands(
    write_documents: Any, dolma: Any, tmp_path: Path
) -> None:
    text = "one two three four five six"  # five pairs of words
    texts = write_lines(tmp_path / "t.jsonl.gz", [{"id": "q", "source": "quiz", "text": text}])
    copies = ["one two three four", "so one two three four five it is", "three four five six"]
    root = write_documents([{"id": str(k), "text": copy, "source": "web"} for k, copy in enumerate(copies)])
    write_documents([{"id": "other", "text": "nothing of the kind", "source": "web"}], "b.jsonl.gz")
    options = ("--texts", texts, "--ngram-length", "2", "--ngram-threshold", "0.5", "--report", tmp_path / "report")
    assert dolma("decontaminate", "--documents", root, *options) == 0
    (found,) = json.loads((tmp_path / "report/report.json").read_bytes())["found"]
    assert [place["score"] for place in found["places"]] == [0.6, 0.8, 0.6]
    assert (found["documents"], found["hits"], found["best_score"]) == (3, 3, 0.8)
    assert "item, in 3 documents, best score 0.800\n" in (tmp_path / "report/report.md").read_text()


def test_gsm8k_leaks_are_all_found_and_nothing_else(
    write_documents: Any, read_jsonl: Any, dolma: Any, tmp_path: Path, data_dir: Path
) -> None:
    with gzip.open(data_dir / "corpora/math/gsm8k-test.jsonl.gz", "rt") as stream:
        questions = [json.loads(line)["question"] for line in stream][:300]
    with gzip.open(data_dir / "corpora/forum/ewt-web.jsonl.gz", "rt") as stream:
        clean = [json.loads(line)["text"] for line in stream][:200]
    texts = write_lines(tmp_path / "gsm8k.jsonl.gz", [{"id": str(k), "text": q} for k, q in enumerate(questions)])
    leaked = [f"{clean[k % 200]}\n\nQ: {question.upper()}" for k, question in enumerate(questions)]
    rows = [{"id": str(k), "text": text, "source": "s"} for k, text in enumerate([*clean, *leaked])]
    root = write_documents(rows)
    options = ("--texts", texts, "--ngram-length", "8", "--ngram-threshold", "1.0")
    assert dolma("decontaminate", "--documents", root, *options) == 0
    found = [row["attributes"] for row in read_jsonl(root / "attributes/decontamination/a.jsonl.gz")]
    assert [bool(attributes) for attributes in found] == [False] * 200 + [True] * 300


def test_any_number_of_processes_gives_the_same_bytes(
    write_documents: Any, contents: Any, dolma: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 300)
    texts = write_lines(tmp_path / "t.jsonl.gz", [{"text": f"one two {k} three four"} for k in range(9)])
    rows = [{"id": str(k), "text": f"so one two {k % 13} three four", "source": "s"} for k in range(40)]
    root = write_documents(rows)
    found = []
    for processes in ("1", "2"):
        options = ("--texts", texts, "--ngram-length", "3", "--processes", processes)
        assert dolma("decontaminate", "--documents", root, *options) == 0
        found.append(contents(root / "attributes/decontamination"))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((), "no evaluation text to compare with"),
        (("--texts", "nowhere.jsonl"), "no evaluation text here (nowhere.jsonl)"),
        (("--texts", "TEXTS"), "no evaluation text to compare with"),
        (("--texts", "TEXTS", "--ngram-length", "9"), "no evaluation text has 8 words"),
        (("--texts", "TEXTS", "--ngram-length", "9", "--ngram-minimum-words", "0"), "count words"),
        (("--texts", "TEXTS", "--ngram-threshold", "0"), "ngram_threshold is 0"),
        (("--texts", "TEXTS", "--minimum-words", "1", "--exempt-sources", "s"), "no evaluation source 's'"),
        (("--requests", "TEXTS"), "not a request"),
        (("--suites", "."), "no suite"),
    ],
)
def test_mistakes_are_told(
    write_documents: Any,
    dolma: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: tuple[str, ...],
    what: str,
) -> None:
    texts = write_lines(tmp_path / "t.jsonl.gz", [{"text": "only four words here"}])
    root = write_documents([{"id": "1", "text": "x", "source": "s"}])
    given_options = [str(texts) if option == "TEXTS" else option for option in options]
    assert dolma("decontaminate", "--documents", root, *given_options) == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": BARE, "choices": 5}, None),
        ({"text": BARE, "more": "NESTED"}, "nested too deep"),
        ({"text": BARE, "more": "LARGE"}, "a number out of range"),
    ],
)
def test_odd_rows_of_texts_are_read_or_told(tmp_path: Path, row: dict[str, Any], told: str | None) -> None:
    line = json.dumps(row).replace('"NESTED"', "[" * 5000 + "]" * 5000).replace('"LARGE"', "1e999")
    (tmp_path / "texts.jsonl").write_text(line + "\n")
    rule = EvaluationRule(texts=(str(tmp_path / "texts.jsonl"),), minimum_words=5)
    if told is None:
        assert [unit.text for unit in read_units(None, rule).units] == [BARE]
        return
    with pytest.raises(UserError, match=told):
        read_units(None, rule)


@given(st.text("ab\n", max_size=20), st.integers(0, 4))
def test_lines_of_giant_texts_are_those_of_the_whole(text: str, part: int) -> None:
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    expected = list(zip(starts, [*starts[1:], len(text)], text.split("\n"), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contamination, "PART", part)
        assert list(contamination.lines_of(text)) == expected
