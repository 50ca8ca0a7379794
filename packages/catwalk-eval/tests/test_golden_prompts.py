"""The olmo-inloop dialect against the request files that OLMo publishes (reached through DATA_DIR)."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from catwalk_eval.errors import UserError
from catwalk_eval.requests import load_requests, load_task
from catwalk_eval.shots import Asked

BUILT = (
    "arc_challenge", "arc_easy", "copa", "csqa", "openbookqa", "piqa", "sciq", "socialiqa", "winogrande",
)  # fmt: skip
DUMPED = (*BUILT, "boolq", "hellaswag")


@pytest.fixture(scope="module")
def evaluation() -> Path:
    if "DATA_DIR" not in os.environ:
        pytest.skip("DATA_DIR is not set: the published requests are not at hand")
    return Path(os.environ["DATA_DIR"]) / "eval"


def published_lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return stream.read().splitlines()


def mismatches(ours: list[str], theirs: list[str]) -> int:
    return abs(len(ours) - len(theirs)) + sum(a != b for a, b in zip(ours, theirs, strict=False))


@pytest.mark.parametrize("name", BUILT)
def test_requests_built_from_source_records_equal_the_published_lines(evaluation: Path, name: str) -> None:
    task = load_task(name, evaluation, "olmo-inloop", None)
    ours = [json.dumps(row) for row in task.rows()]
    theirs = published_lines(evaluation / name / "rc_0shot" / "requests.jsonl.gz")
    assert len(theirs) >= 400
    assert mismatches(ours, theirs) == 0
    config = json.loads((evaluation / name / "rc_0shot" / "config.json").read_text())
    assert task.primary_metric == config["task_config"]["primary_metric"]


def test_boolq_requests_equal_the_published_lines_for_the_edition_with_titles(evaluation: Path, tmp_path: Path) -> None:
    """The dumps come from SuperGLUE's BoolQ, whose passages begin with the article's title; the title is put back."""
    theirs = published_lines(evaluation / "boolq" / "rc_0shot" / "requests.jsonl.gz")
    titles = [json.loads(line)["request"]["context"] for line in theirs[::2]]
    source = published_lines(evaluation / "boolq" / "source" / "validation.jsonl.gz")
    edition: list[dict[str, Any]] = []
    for line, context in zip(source, titles, strict=True):
        record = json.loads(line)
        start = context.index(record["passage"])
        assert context[:start].endswith(" -- ")
        edition.append(record | {"passage": context[:start] + record["passage"]})
    folder = tmp_path / "boolq" / "source"
    folder.mkdir(parents=True)
    with gzip.open(folder / "validation.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in edition)
    ours = [json.dumps(row) for row in load_task("boolq", tmp_path, "olmo-inloop", None).rows()]
    assert len(theirs) == 800
    assert mismatches(ours, theirs) == 0


def test_hellaswag_is_scored_from_its_published_requests(evaluation: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = published_lines(evaluation / "hellaswag" / "rc_0shot_from_5shot" / "requests.jsonl.gz")
    for task in (load_task("hellaswag", evaluation, "olmo-inloop", None), load_requests("hellaswag", evaluation, None)):
        assert mismatches([json.dumps(row) for row in task.rows()], theirs) == 0
        assert task.primary_metric == "acc_per_char"
    assert load_task("hellaswag", evaluation, "olmo-paper", None).primary_metric == "acc_per_token"
    assert "worded as in olmo-inloop" in caplog.text
    gold = load_task("hellaswag_bpb", evaluation, "olmo-inloop", 2)
    assert (gold.name, [len(instance.contexts) for instance in gold.instances]) == ("hellaswag_bpb", [1, 1])


@pytest.mark.parametrize(
    ("dialect", "options"),
    [
        ("olmes-mcf", {}),
        ("olmo-inloop", {"shots": Asked(count=5)}),
        ("olmo-inloop", {"split": "test"}),
        ("olmo-inloop", {"limit_seed": 3}),
    ],
)
def test_published_requests_stand_in_for_nothing_else(evaluation: Path, dialect: str, options: Any) -> None:
    with pytest.raises(UserError, match="the records of hellaswag are missing"):
        load_task("hellaswag", evaluation, dialect, 2, **options)


@pytest.mark.parametrize("name", DUMPED)
def test_published_requests_load_and_write_unchanged(evaluation: Path, name: str) -> None:
    task = load_requests(name, evaluation, None)
    theirs = published_lines(task.source)
    assert mismatches([json.dumps(row) for row in task.rows()], theirs) == 0


@pytest.mark.parametrize(("name", "alias"), [("csqa", "commonsense_qa"), ("socialiqa", "social_iqa")])
def test_another_name_of_a_task_finds_its_folder(evaluation: Path, name: str, alias: str) -> None:
    assert load_task(alias, evaluation, "olmo-inloop", 2) == load_task(name, evaluation, "olmo-inloop", 2)
    assert load_requests(alias, evaluation, 2) == load_requests(name, evaluation, 2)


@pytest.mark.parametrize("dialect", ["olmo-inloop", "lm-eval"])
def test_mmlu_shows_a_subject_its_own_development_questions_in_their_order(evaluation: Path, dialect: str) -> None:
    rows = [json.loads(line) for line in published_lines(evaluation / "mmlu" / "dev.jsonl.gz")]
    task = load_task("mmlu_mc", evaluation, dialect, 40, shots=Asked(count=5), split="validation")
    assert len({instance.domain for instance in task.instances}) > 1
    mark = "A. " if dialect == "lm-eval" else " A. "
    for instance in task.instances:
        shots = [row for row in rows if row["subject"] == instance.domain]
        assert len(shots) == 5
        places = [instance.contexts[0].index(row["question"].strip()) for row in shots]
        assert places == sorted(places)
        assert instance.contexts[0].count("\n" + mark) == 6
    assert task.shots_source is not None
    assert (task.shots_source["from"], task.shots_source["file"]) == ("first", "dev.jsonl.gz")


def test_published_requests_with_examples_load_by_their_number(evaluation: Path) -> None:
    task = load_requests("hellaswag", evaluation, 3, shots=5)
    assert (task.shots, task.primary_metric) == (5, "acc_per_char")
    assert task.instances[0].contexts[0].count("\n\n") == 5
    assert task.instances[0].contexts[0].endswith(str(task.instances[0].doc["query"]))
    with pytest.raises(UserError, match="no requests of 'piqa'"):
        load_requests("piqa", evaluation, 3, shots=5)


def test_records_rebuilt_from_the_published_five_shot_requests_give_them_again(
    evaluation: Path, tmp_path: Path
) -> None:
    """HellaSwag's records and curated examples are not at hand; made from the requests, they lead back to them."""
    lines = published_lines(evaluation / "hellaswag/rc_5shot/requests.jsonl.gz")
    rows = [json.loads(line) for line in lines]
    first = [row for row in rows if row["doc_id"] < 1_000_000]
    records = [record_of(row["doc"]) for row in first if row["idx"] == 0]
    *examples, _ = first[0]["request"]["context"].split("\n\n")
    shots = [
        {"ind": number, "activity_label": text.partition(": ")[0], "ctx_a": text.partition(": ")[2], "ctx_b": "",
         "endings": ["", "x"], "label": "1"}
        for number, text in enumerate(examples)
    ]  # fmt: skip
    for shot in shots:  # where the context ends and the answer begins does not show in the request
        sentence, _, ending = str(shot["ctx_a"]).rpartition(". ")
        shot |= {"ctx_a": marked(sentence + "."), "endings": ["y", marked(ending)]}
    (tmp_path / "hellaswag/source").mkdir(parents=True)
    for name, content in (("hellaswag/source/validation.jsonl", records), ("shots.jsonl", shots)):
        (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in content))
    task = load_task(
        "hellaswag", tmp_path, "olmo-inloop", None, shots=Asked(count=5, source=str(tmp_path / "shots.jsonl"))
    )
    ours = [row for row in task.rows() if row["doc_id"] < 1_000_000]
    assert [(row["request"], row["label"], row["native_id"]) for row in ours] == [
        (row["request"], row["label"], row["native_id"]) for row in first
    ]


def record_of(doc: dict[str, Any]) -> dict[str, Any]:
    activity, _, context = doc["query"].partition(": ")
    ends = {"endings": [marked(choice) for choice in doc["choices"]], "label": str(doc["gold"])}
    return {"ind": doc["ind"], "activity_label": activity, "ctx_a": marked(context), "ctx_b": ""} | ends


def marked(text: str) -> str:
    """A text that the cleaning of HellaSwag makes ``text``: of four spaces it leaves two, of marks nothing."""
    return "[step]" + text.replace("  ", "    ") + "[step]"
