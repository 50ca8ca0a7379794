"""Tasks of the user's own: YAML and Python files, JSON Lines and Parquet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from catwalk_eval.cli import app
from catwalk_eval.command_line import run
from catwalk_eval.errors import UserError
from catwalk_eval.fields import Answer, MissingFieldError, lookup, render, render_all
from catwalk_eval.requests import load_requests, load_task
from catwalk_eval.shots import Asked

RECORDS = [
    {"thing": "grass", "colours": ["red", "green"], "answer": 1, "theme": "plants", "page": "p1"},
    {"thing": "snow", "colours": ["white", "black"], "answer": 0, "theme": "weather", "page": "p1"},
]
TASK: dict[str, Any] = {
    "name": "colours", "about": "colours of things", "data": "colours.jsonl", "builder": "cloze",
    "context": "The colour of {thing} is", "choices": "colours", "gold": "answer", "metric": "acc_raw",
    "domain": "{theme}", "cluster": "{page}",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return tmp_path


def write(place: Path, **changes: Any) -> str:
    stated = {key: value for key, value in (TASK | changes).items() if value is not None}
    path = place / "colours.yaml"
    path.write_text(yaml.safe_dump(stated, sort_keys=False))
    return str(path)


def test_a_yaml_task_has_what_a_built_in_one_has(place: Path) -> None:
    task = load_task(write(place), None, "lm-eval", None)
    assert (task.name, task.primary_metric, task.dialect, task.split) == ("colours", "acc_raw", "lm-eval", "validation")
    first = task.instances[0]
    assert first.contexts == ("The colour of grass is",) * 2
    assert first.continuations == (" red", " green")
    assert (first.label, first.domain, first.cluster) == (1, "plants", "p1")


def test_letters_and_two_contexts_in_yaml(place: Path) -> None:
    task = load_task(
        write(place, builder="letters", context=None, question="Colour of {thing}?", metric=None), None, "lm-eval", 1
    )
    assert task.instances[0].contexts[0] == "Colour of grass?\n A. red\n B. green\nAnswer:"
    assert task.instances[0].continuations == (" A", " B")
    assert not task.unconditional
    task = load_task(
        write(place, builder="two-contexts", context=None, sentence="{thing} is _ , I think."), None, "lm-eval", 1
    )
    assert task.instances[0].contexts == ("grass is red", "grass is green")
    assert set(task.instances[0].continuations) == {" , I think."}


@pytest.mark.parametrize(
    ("gold", "record", "index"),
    [
        ("a", {"a": 2}, 2),
        ("a", {"a": " 2"}, 2),
        ("a.b", {"a": {"b": 1}}, 1),
        ({"field": "a", "start": 1}, {"a": "2"}, 1),
        ({"field": "a", "labels": ["x", "y"]}, {"a": "y "}, 1),
        ({"field": "a", "labels": [False, True]}, {"a": True}, 1),
        ({"field": "a", "labels": "l"}, {"a": "B", "l": ["A", "B"]}, 1),
    ],
)
def test_the_right_answer_may_be_stated_in_many_ways(gold: Any, record: dict[str, Any], index: int) -> None:
    answer = Answer(field=gold) if isinstance(gold, str) else Answer(**gold)
    assert answer(record) == index


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(field="a"), "a is True, not the number of a choice"),
        (Answer(field="a", labels=(0, 1)), "the right answer True is none of 0, 1"),
        (Answer(field="a", labels="l"), "l is text, not a list"),
    ],
)
def test_an_answer_is_not_guessed(answer: Answer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        answer({"a": True, "l": "AB"})


def test_templates_take_text_and_numbers_and_braces_are_doubled() -> None:
    record = {"a": {"b": "x{y}"}, "n": 3, "l": [{"t": "p"}, {"t": "q"}], "o": {"t": ["r"]}, "e": None}
    assert render("{{{a.b}}} {n}", record) == "{x{y}} 3"
    assert render_all("l.t", record) == ["p", "q"]
    assert render_all("o.t", record) == ["r"]
    assert render_all(("{n}", "no"), record) == ["3", "no"]
    with pytest.raises(ValueError, match="e is null, not text"):
        render("{e}", record)
    with pytest.raises(ValueError, match="n is a number, not a list"):
        render_all("n", record)
    with pytest.raises(KeyError, match=r"a\.c"):
        lookup(record, "a.c")
    with pytest.raises(MissingFieldError, match="thin") as missing:
        lookup({"thing": 1}, "thin")
    assert missing.value.fix == "did you mean thing?"


def test_examples_of_an_own_task_come_from_the_file_it_names_or_from_its_train_records(place: Path) -> None:
    (place / "shots.jsonl").write_text(json.dumps(RECORDS[1] | {"theme": "plants"}) + "\n")
    task = load_task(write(place, shots="shots.jsonl", domain=None), None, "lm-eval", None, shots=Asked(count=1))
    assert task.instances[0].contexts[0] == "The colour of snow is white\n\nThe colour of grass is"
    assert task.shots_source is not None
    assert task.shots_source["file"] == "shots.jsonl"
    both = {"validation": "colours.jsonl", "train": "shots.jsonl"}
    assert load_task(write(place, data=both, domain=None), None, "lm-eval", None, shots=Asked(count=1)) == replace(
        task, shots_source={**task.shots_source, "from": "seed", "seed": 1234}
    )
    data = place / "data/colours"
    data.mkdir(parents=True)
    (place / "colours.jsonl").rename(data / "validation.jsonl")
    (place / "shots.jsonl").rename(data / "train.jsonl")
    task = load_task(
        write(place, data=None, shots="first", domain=None), place / "data", "lm-eval", 1, shots=Asked(count=1)
    )
    assert task.instances[0].contexts[0] == "The colour of snow is white\n\nThe colour of grass is"


def test_parquet_records_are_the_same_as_json_lines(place: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    expected = load_task(write(place), None, "lm-eval", None).instances
    parquet.write_table(pyarrow.Table.from_pylist(RECORDS), place / "colours.parquet")
    assert load_task(write(place, data="colours.parquet"), None, "lm-eval", None).instances == expected
    wrong = [RECORDS[0], RECORDS[1] | {"answer": 5}]
    parquet.write_table(pyarrow.Table.from_pylist(wrong), place / "colours.parquet")
    with pytest.raises(UserError, match=r"right answer 5 is none of the 2 choices \(.*colours\.parquet, row 2\)"):
        load_task(write(place, data="colours.parquet"), None, "lm-eval", None)
    parquet.write_table(pyarrow.table({"thing": [b"\xff"]}), place / "colours.parquet")
    with pytest.raises(UserError, match=r"neither text, number, list nor object.*row 1"):
        load_task(write(place, data="colours.parquet"), None, "lm-eval", None)
    (place / "colours.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"the Parquet file does not read.*colours\.parquet"):
        load_task(write(place, data="colours.parquet"), None, "lm-eval", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nmae": "x"}, "a task has no key 'nmae'.*did you mean name"),
        ({"name": None}, "name is missing"),
        ({"name": 3}, "name is a number, not text"),
        ({"name": "a/b"}, "'a/b' cannot name a folder"),
        ({"name": "provenance"}, "provenance is a name that every artifact uses itself"),
        ({"name": "manifest.json"}, "manifest.json is a name that every artifact uses itself"),
        ({"name": "piqa"}, "piqa is the name of a built-in task"),
        ({"builder": "clozed"}, "unknown builder 'clozed'.*did you mean cloze"),
        ({"context": None}, "context is missing"),
        ({"context": "a {b"}, "context: 'a {b' is no template"),
        ({"context": "a {b:>3}"}, "context: .* is no template: between the braces stands the name of a field"),
        ({"context": "a {}"}, "context: .* is no template"),
        ({"context": "The colour of {thin} is"}, r"no field 'thin' \(.*colours.jsonl, line 1\); did you mean thing\?"),
        ({"question": "q"}, "question does nothing with builder cloze"),
        ({"choices": None}, "choices is missing"),
        ({"choices": ["one"]}, "choices is a list, not"),
        ({"choices": [True, False]}, "a choice is true or false"),
        ({"choices": "{colours}"}, "choices is one template"),
        ({"choices": "thing"}, "thing is text, not a list.*line 1"),
        ({"choices": ["{thing}", " "]}, "choice 1 is empty.*line 1"),
        ({"gold": None}, "gold is missing"),
        ({"gold": {"file": "a"}}, "gold has no key 'file'"),
        ({"gold": {"labels": ["a"]}}, "gold.field is missing"),
        ({"gold": {"field": "answer", "start": "1"}}, "gold.start no number"),
        ({"gold": "thing"}, "thing is 'grass', not the number of a choice.*line 1"),
        ({"gold": 2}, "the right answer 2 is none of the 2 choices.*line 1"),
        ({"metric": "acc"}, "unknown metric 'acc'"),
        ({"metric": "f1"}, "f1 needs the number of the positive choice"),
        ({"positive": -1}, "positive is a number, not a number from 0"),
        ({"data": "none.jsonl"}, "the validation records of colours are missing.*none.jsonl"),
        ({"data": ["a"]}, "data is neither a file nor split: file"),
        ({"data": None}, "where the records of colours lie is not said"),
        ({"data": "colours.yaml"}, "records are JSON Lines or Parquet"),
    ],
)
def test_a_mistake_in_a_yaml_task_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    path = write(place, **changes)
    with pytest.raises(UserError, match=message):
        load_task(path, None, "lm-eval", None)
    assert run(app, ["requests", "--tasks", path, "--output", str(place / "r")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert not (place / "r").exists()


PYTHON = """
from catwalk_eval.task import Cloze, Task, Wording

def context(record):
    return f"The colour of {record['thing'].upper()} is"

BUILDER = Cloze(context=context, choices="colours", gold="answer")
TASK = Task(
    name="shouted",
    about="colours of things in capitals",
    wordings={"lm-eval": Wording(builder=BUILDER, primary_metric="acc_raw")},
)
DATA = "colours.jsonl"
"""


def test_a_python_task_is_a_declaration_like_the_built_in_ones(place: Path) -> None:
    path = place / "shouted.py"
    path.write_text(PYTHON)
    task = load_task(str(path), None, "lm-eval", None)
    assert task.name == "shouted"
    assert task.instances[1].contexts[0] == "The colour of SNOW is"
    with pytest.raises(UserError, match=r"shouted has no wording in olmes-cf.*it has one in lm-eval"):
        load_task(str(path), None, "olmes-cf", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("TASK = ", "NO = ", "the file has no TASK"),
        ("def context(record):", "def context(record)", r"does not run: SyntaxError.*shouted\.py, line 4"),
        ('DATA = "colours.jsonl"', "DATA = 1 / 0", r"does not run: ZeroDivisionError.*shouted\.py, line 13"),
        ('DATA = "colours.jsonl"', "raise SystemExit(3)", r"does not run: SystemExit: 3.*shouted\.py, line 13"),
        ("record['thing'].upper()", "1 / 0", r"does not fit shouted: ZeroDivisionError.*line 1"),
        ('"lm-eval": W', '"lm_eval": W', "unknown dialect 'lm_eval'.*did you mean lm-eval"),
        ("acc_raw", "acc", "unknown metric 'acc'"),
        ("record['thing'].upper()", "record['thing'].louder()", r"does not fit shouted: .*louder.*line 1"),
    ],
)
def test_a_mistake_in_a_python_task_is_one_line(place: Path, old: str, new: str, message: str) -> None:
    path = place / "shouted.py"
    assert old in PYTHON
    path.write_text(PYTHON.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_task(str(path), None, "lm-eval", None)


def test_clusters_by_a_field_that_no_record_has_are_refused(place: Path) -> None:
    with pytest.raises(
        UserError, match=r"cluster of colours: no record has the field 'pagee' \(.*\); did you mean page\?"
    ):
        load_task(write(place, cluster="{pagee}"), None, "lm-eval", None)
    (place / "colours.jsonl").write_text(
        "".join(
            json.dumps({key: v for key, v in r.items() if k or key != "page"}) + "\n" for k, r in enumerate(RECORDS)
        )
    )
    task = load_task(write(place), None, "lm-eval", 1)  # the second record has it
    assert [instance.cluster for instance in task.instances] == [None]


def test_a_positive_choice_that_no_record_has_is_refused(place: Path) -> None:
    assert load_task(write(place, metric="f1", positive=1), None, "lm-eval", None).positive == 1
    path = write(place, metric="f1", positive=2)
    with pytest.raises(UserError, match=r"positive is 2, but no record has more than 2 choices.*give 0 to 1"):
        load_task(path, None, "lm-eval", None)


def test_an_own_task_runs_and_its_requests_read_back_the_same(place: Path, model_folder: Path) -> None:
    path = write(place)
    assert run(app, ["requests", "--tasks", path, "--output", str(place / "r")]) == 0
    assert load_requests("colours", place / "r", None).instances == load_task(path, None, "olmo-inloop", None).instances
    line = ["run", "--model", str(model_folder), "--tasks", path, "--output", str(place / "p"), "--device", "cpu"]
    assert run(app, line) == 0
    metrics = json.loads((place / "p/metrics.json").read_text())["tasks"]
    assert metrics["colours"]["instances"] == 2


def test_a_missing_task_file_and_a_task_named_twice_are_told(place: Path) -> None:
    with pytest.raises(UserError, match="no such task file"):
        load_task("none.yaml", None, "lm-eval", None)
    path = write(place)
    assert run(app, ["requests", "--tasks", f"{path},{path}", "--output", str(place / "r")]) == 2
