"""The olmo-inloop dialect against the request files that OLMo publishes (reached through DATA_DIR)."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from catwalk_eval.requests import load_requests, load_task
from catwalk_eval.tasks import TASKS

BUILT = sorted(name for name, task in TASKS.items() if task.published is None and name != "boolq")


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


def test_hellaswag_is_scored_from_its_published_requests(evaluation: Path) -> None:
    theirs = published_lines(evaluation / "hellaswag" / "rc_0shot_from_5shot" / "requests.jsonl.gz")
    for task in (load_task("hellaswag", evaluation, "olmo-inloop", None), load_requests("hellaswag", evaluation, None)):
        assert mismatches([json.dumps(row) for row in task.rows()], theirs) == 0
        assert task.primary_metric == "acc_per_char"
    assert load_task("hellaswag", evaluation, "olmo-paper", None).primary_metric == "acc_per_token"


@pytest.mark.parametrize("name", sorted(TASKS))
def test_published_requests_load_and_write_unchanged(evaluation: Path, name: str) -> None:
    task = load_requests(name, evaluation, None)
    theirs = published_lines(task.source)
    assert mismatches([json.dumps(row) for row in task.rows()], theirs) == 0
