from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from catwalk_eval.config import RequestsConfig
from catwalk_eval.errors import UserError
from catwalk_eval.files import atomic_write
from catwalk_eval.requests import load_requests, load_task, write_requests


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_requests_are_written_read_back_and_written_the_same(data: Path, tmp_path: Path) -> None:
    write_requests(RequestsConfig(tasks="piqa,winogrande", data=data, output=tmp_path / "r"))
    rows = lines(tmp_path / "r" / "piqa" / "requests.jsonl.gz")
    assert len(rows) == 12  # three instances, two choices, each with its unconditional twin
    assert rows[1]["request"] == {"context": "Goal: cross the river 0\nAnswer:", "continuation": " the wind blows "}
    assert rows[7]["request"] == {"context": "Answer:", "continuation": " the wind blows "}
    assert rows[7]["doc_id"] == 1_000_000
    assert json.loads((tmp_path / "r" / "manifest.json").read_text()) == {
        "artifact": "requests",
        "format_version": 1,
        "tasks": ["piqa", "winogrande"],
        "dialect": "olmo-inloop",
        "tokenizer_digest": None,
    }
    about = json.loads((tmp_path / "r" / "winogrande" / "task.json").read_text())
    assert (about["instances"], about["requests"], about["primary_metric"]) == (3, 6, "acc_raw")
    for name in ("piqa", "winogrande"):
        again = load_requests(name, tmp_path / "r", None)
        assert list(again.rows()) == lines(tmp_path / "r" / name / "requests.jsonl.gz")
        built = load_task(name, data, "olmo-inloop", None)
        assert (again.instances, again.source_digest) == (built.instances, built.source_digest)


def test_tokenised_rows_count_characters_and_bytes_of_the_continuation(
    tmp_path: Path, data: Path, tokenizer_json: Path
) -> None:
    folder = data / "own"
    (folder / "source").mkdir(parents=True)
    record = {"id": "a", "c": "", "o": [" é", "\nsea"], "g": 1, "d": "north"}
    (folder / "source" / "validation.jsonl.gz").write_bytes(gzip.compress(json.dumps(record).encode() + b"\n"))
    description = {
        "artifact": "task", "format_version": 1, "name": "own", "builder": "cloze", "context_field": "c",
        "choices_field": "o", "gold_field": "g", "domain_field": "d", "description": "", "primary_metric": "acc_raw",
    }  # fmt: skip
    (folder / "task.json").write_text(json.dumps(description))
    config = RequestsConfig(tasks="own", data=data, output=tmp_path / "r", tokenizer=tokenizer_json)
    write_requests(config)
    rows = lines(tmp_path / "r" / "own" / "tokenized.jsonl.gz")
    assert [(row["kind"], row["doc_id"], row["idx"], row["label"]) for row in rows] == [
        ("conditional", 0, 0, 1),
        ("conditional", 0, 1, 1),
        ("unconditional", 0, 0, 1),
        ("unconditional", 0, 1, 1),
    ]
    assert rows[0]["context_ids"] == [0]  # <|endoftext|> for the empty context
    assert (rows[0]["characters"], rows[0]["bytes"]) == (2, 3)
    assert (rows[1]["characters"], rows[1]["bytes"]) == (4, 4)
    assert load_task("own", data, "olmo-paper", None).instances[0].domain == "north"
    assert load_requests("own", tmp_path / "r", None).instances[0].domain == "north"


def test_the_limit_takes_the_first_instances(data: Path, tmp_path: Path) -> None:
    write_requests(RequestsConfig(tasks="sciq", data=data, output=tmp_path / "r", limit=2))
    assert {row["doc_id"] for row in lines(tmp_path / "r" / "sciq" / "requests.jsonl.gz")} == {0, 1, 1000000, 1000001}
    assert len(load_requests("sciq", tmp_path / "r", 1).instances) == 1


def test_names_are_checked_with_the_nearest_spelling(data: Path) -> None:
    with pytest.raises(UserError, match=r"unknown task 'arc_eazy'.*did you mean arc_easy\?"):
        load_task("arc_eazy", data, "olmo-inloop", None)
    with pytest.raises(UserError, match=r"unknown dialect 'olmo-papr'.*did you mean olmo-paper\?"):
        load_task("piqa", data, "olmo-papr", None)
    with pytest.raises(UserError, match=r"copa/source/validation\.jsonl\.gz"):
        load_task("copa", data, "olmo-inloop", None)


def test_broken_source_files_are_named_with_their_line(data: Path) -> None:
    path = data / "piqa" / "source" / "validation.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"damaged or cut off.*validation\.jsonl\.gz"):
        load_task("piqa", data, "olmo-inloop", None)
    text = gzip.decompress(whole).splitlines()
    path.write_bytes(gzip.compress(b"\n".join([text[0], text[1][:20]])))
    with pytest.raises(UserError, match=r"not valid JSON.*line 2"):
        load_task("piqa", data, "olmo-inloop", None)
    path.write_bytes(gzip.compress(b'{"goal": "g"}\n'))
    with pytest.raises(UserError, match=r"no field 'sol1'.*line 1"):
        load_task("piqa", data, "olmo-inloop", None)
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="there are no records"):
        load_task("piqa", data, "olmo-inloop", None)


def change(row: dict[str, Any], **values: Any) -> dict[str, Any]:
    return row | values


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [], "there are no requests"),
        (lambda rows: [rows[1], rows[0]], "choice 1 of instance 0 is out of order"),
        (lambda rows: [change(row, label=5) for row in rows], "no choice numbered 5"),
        (lambda rows: [change(rows[0], request={"context": "x", "continuation": ""})], "the continuation is empty"),
        (lambda rows: [change(rows[0], request_type="generate_until")], "request_type is 'generate_until'"),
        (lambda rows: [*rows[:4], *rows[:2]], "instance 0 comes twice"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(data: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    write_requests(RequestsConfig(tasks="piqa", data=data, output=tmp_path / "r"))
    path = tmp_path / "r" / "piqa" / "requests.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in spoil(lines(path)))))
    with pytest.raises(UserError, match=message):
        load_requests("piqa", tmp_path / "r", None)


def test_missing_requests_say_which_file_is_expected(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match=r"there are no requests here.*expected.*piqa/requests\.jsonl\.gz"):
        load_requests("piqa", tmp_path / "nowhere", None)
    write_requests(RequestsConfig(tasks="piqa", data=data, output=tmp_path / "r"))
    with pytest.raises(UserError, match=r"no requests of 'piqua'.*did you mean piqa\?"):
        load_requests("piqua", tmp_path / "r", None)


def test_a_task_file_of_requests_is_not_taken_for_task_data(tmp_path: Path, data: Path) -> None:
    write_requests(RequestsConfig(tasks="piqa", data=data, output=tmp_path / "r"))
    with pytest.raises(UserError, match="as --requests"):
        load_task("piqa", tmp_path / "r", "olmo-inloop", None)


def test_a_limit_with_a_seed_draws_instances_as_the_published_evaluations_do(tmp_path: Path) -> None:
    folder = tmp_path / "piqa" / "source"
    folder.mkdir(parents=True)
    rows = [{"goal": f"g{k}", "sol1": "a", "sol2": "b", "label": 0} for k in range(50)]
    (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = load_task("piqa", tmp_path, "olmo-paper", 5, limit_seed=1234).instances
    assert sorted(random.Random(1234).sample(rows, 5), key=lambda row: int(row["goal"][1:])) == [
        rows[instance.doc_id] for instance in drawn
    ]
    assert len(load_task("piqa", tmp_path, "olmo-paper", 90, limit_seed=1234).instances) == 50


def test_the_gold_form_asks_for_right_answers_alone(data: Path, tmp_path: Path) -> None:
    task = load_task("piqa_bpb", data, "olmo-inloop", None)
    assert (task.name, task.primary_metric, task.unconditional) == ("piqa_bpb", "bits_per_byte", False)
    whole = load_task("piqa", data, "olmo-inloop", None).instances
    assert [i.continuations for i in task.instances] == [(i.continuations[i.label],) for i in whole]
    write_requests(RequestsConfig(tasks="piqa_bpb,winogrande_bpb", data=data, output=tmp_path / "r"))
    assert load_requests("piqa_bpb", tmp_path / "r", None).instances == task.instances
    assert lines(tmp_path / "r/winogrande_bpb/requests.jsonl.gz")[0]["request"] == {
        "context": "The river met the sea and sea", "continuation": " was salty .",
    }  # fmt: skip
    with pytest.raises(UserError, match="their bits per byte say nothing"):
        load_task("piqa_bpb", data, "olmes-mcf", None)
    with pytest.raises(UserError, match=r"unknown task 'piqua'.*did you mean piqa\?"):
        load_task("piqua_bpb", data, "olmo-inloop", None)


def test_one_task_under_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "validation.jsonl").write_text('{"sentence": "good", "label": 1}\n')
    with pytest.raises(UserError, match="a task is named twice in 'sst2,sst2'"):
        write_requests(RequestsConfig(tasks="sst2,sst", data=tmp_path, output=tmp_path / "r", dialect="lm-eval"))


@pytest.mark.parametrize("name", ["source/validation.jsonl", "validation.jsonl.zst", "validation.parquet"])
def test_records_may_be_packed_otherwise_and_lie_in_the_folder_itself(data: Path, name: str) -> None:
    packed = data / "sciq" / "source" / "validation.jsonl.gz"
    expected = load_task("sciq", data, "olmo-inloop", None).instances
    rows, path = lines(packed), data / "sciq" / name
    packed.unlink()
    if name.endswith(".parquet"):
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)
    else:
        with atomic_write(path) as stream:
            stream.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    task = load_task("sciq", data, "olmo-inloop", None)
    assert (task.instances, task.source) == (expected, path)
