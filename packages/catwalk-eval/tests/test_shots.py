from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from catwalk_eval.config import RequestsConfig
from catwalk_eval.errors import UserError
from catwalk_eval.files import digest_file
from catwalk_eval.requests import load_requests, load_task, write_requests
from catwalk_eval.shots import Asked
from catwalk_eval.tasks import TASKS


def goal(number: int, **more: Any) -> dict[str, Any]:
    return {"goal": f"goal {number} ", "sol1": f"left {number} ", "sol2": f"right {number}", "label": number % 2} | more


def put(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "piqa" / "source"
    put(folder / "validation.jsonl.gz", [goal(100), goal(101), goal(1)])
    put(folder / "train.jsonl.gz", [goal(number) for number in range(20)])
    return tmp_path / "data"


def contexts(data: Path, dialect: str, **asked: Any) -> list[str]:
    task = load_task("piqa", data, dialect, None, shots=Asked(**asked))
    return [instance.contexts[0] for instance in task.instances]


def test_first_takes_the_records_in_their_order_and_lm_eval_leaves_their_white_space(data: Path) -> None:
    assert contexts(data, "lm-eval", count=2, source="first")[0] == (
        "Question: goal 0 \nAnswer: left 0 \n\nQuestion: goal 1 \nAnswer: right 1\n\nQuestion: goal 100 \nAnswer:"
    )


def test_catwalk_and_olmes_cut_the_white_space_of_examples_alone(data: Path) -> None:
    assert contexts(data, "olmo-paper", count=1, source="first")[0] == (
        "Question: goal 0 \nAnswer: left 0\n\nQuestion: goal 100 \nAnswer:"
    )


def test_letters_and_two_contexts_are_examples_too(data: Path, tmp_path: Path) -> None:
    shots = put(tmp_path / "shots.jsonl", [goal(3)])
    assert contexts(data, "olmes-mcf", count=1, source=str(shots))[0] == (
        "Goal: goal 3 \n A. left 3 \n B. right 3\nAnswer: B\n\nGoal: goal 100 \n A. left 100 \n B. right 100\nAnswer:"
    )
    record = {"sentence": "Ann saw _ run. ", "option1": "Bea", "option2": "Cy", "answer": "2"}
    assert TASKS["winogrande"].shot(record, "lm-eval") == "Ann saw Cy run.\n\n"


def test_a_question_is_never_its_own_example(data: Path) -> None:
    shots = contexts(data, "lm-eval", count=2, source="first")
    assert shots[2] == (
        "Question: goal 0 \nAnswer: left 0 \n\nQuestion: goal 2 \nAnswer: left 2 \n\nQuestion: goal 1 \nAnswer:"
    )
    for seed in range(5):
        for count in (1, 19):
            assert contexts(data, "lm-eval", count=count, source="seed", seed=seed)[2].count("goal 1 ") == 1


def test_a_seed_draws_one_set_for_all_questions_and_another_seed_another(data: Path) -> None:
    drawn = contexts(data, "lm-eval", count=3, source="seed", seed=7)
    assert drawn == contexts(data, "lm-eval", count=3, seed=7)
    prefixes = [context[: context.rindex("Question:")] for context in drawn[:2]]
    assert prefixes[0] == prefixes[1]
    assert drawn != contexts(data, "lm-eval", count=3, source="seed", seed=8)


def test_repeated_records_are_all_passed_over_where_a_question_is_one_of_them(data: Path) -> None:
    put(data / "piqa/source/train.jsonl.gz", [goal(1), goal(1), goal(1), goal(2)])
    shown = contexts(data, "lm-eval", count=2, source="first")
    assert shown[0].startswith("Question: goal 1 \nAnswer: right 1\n\nQuestion: goal 1 \n")
    put(data / "piqa/source/train.jsonl.gz", [goal(1), goal(1), goal(1), goal(2), goal(3)])
    assert contexts(data, "lm-eval", count=2, source="first")[2].startswith(
        "Question: goal 2 \nAnswer: left 2 \n\nQuestion: goal 3 \n"
    )


def test_a_question_among_examples_without_another_to_take_has_one_fewer(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MMLU's development questions are five a subject, and one of them is a validation question too."""
    put(data / "piqa/source/train.jsonl.gz", [goal(1), goal(2)])
    shown = contexts(data, "lm-eval", count=2, source="first")
    assert [context.count("Question:") for context in shown] == [3, 3, 2]
    assert "piqa: 1 instances are among the examples and have one fewer" in caplog.text


def test_what_examples_were_shown_is_recorded_and_survives_the_requests_artifact(data: Path, tmp_path: Path) -> None:
    config = RequestsConfig(tasks="piqa", data=data, output=tmp_path / "r", shots=2, seed=5, dialect="olmo-v1-inloop")
    write_requests(config)
    about = json.loads((tmp_path / "r/piqa/task.json").read_text())
    assert about["shots"] == 2
    assert about["shots_source"] == {
        "from": "seed",
        "file": "train.jsonl.gz",
        "digest": digest_file(data / "piqa/source/train.jsonl.gz"),
        "seed": 5,
    }
    (provenance,) = (tmp_path / "r/provenance").glob("*.json")
    inputs = {Path(path).name for path in json.loads(provenance.read_text())["inputs"]}
    assert inputs == {"validation.jsonl.gz", "train.jsonl.gz"}
    again = load_requests("piqa", tmp_path / "r", None)
    assert (again.shots, again.shots_source) == (2, about["shots_source"])
    assert again.instances == load_task("piqa", data, "olmo-v1-inloop", None, shots=Asked(count=2, seed=5)).instances


def test_examples_of_a_subject_come_from_that_subject(tmp_path: Path) -> None:
    def question(subject: str, number: int) -> dict[str, Any]:
        return {"question": f"{subject} {number}?", "subject": subject, "choices": ["1", "2"], "answer": 0}

    folder = tmp_path / "mmlu"
    put(folder / "dev.jsonl.gz", [question(subject, k) for k in range(3) for subject in ("law", "art")])
    put(folder / "validation.jsonl.gz", [question("art", 9), question("law", 9)])
    task = load_task("mmlu_rc", tmp_path, "olmo-inloop", None, shots=Asked(count=2))
    assert [instance.contexts[0].split("\n\n", 1)[1] for instance in task.instances] == [
        f"Question: {subject} 0?\nAnswer: 1\n\nQuestion: {subject} 1?\nAnswer: 1\n\nQuestion: {subject} 9?\nAnswer:"
        for subject in ("art", "law")
    ]
    old = load_task("mmlu_mc", tmp_path, "olmo-v1-inloop", 1, shots=Asked(count=1)).instances[0]
    assert old.contexts[0].startswith(
        "The following are multiple choice questions (with answers) about art:\n\nart 0?\nA. 1\nB. 2\nAnswer: A\n\n"
    )
    put(folder / "validation.jsonl.gz", [question("zen", 9)])
    with pytest.raises(UserError, match=r"no examples of 'zen' in .*dev\.jsonl\.gz \(.*validation\.jsonl\.gz, line 1"):
        load_task("mmlu_rc", tmp_path, "olmo-inloop", None, shots=Asked(count=2))


@pytest.mark.parametrize(
    ("dialect", "asked", "message"),
    [
        ("lm-eval", {"count": -1}, "--shots is -1"),
        ("lm-eval", {"source": "first"}, "--shots-from does nothing without --shots"),
        ("olmes-cf", {"count": 5}, "chosen by hand.*--shots-from FILE"),
        ("olmes-mcf", {"count": 5}, "chosen by hand.*--shots-from FILE"),
        ("lm-eval", {"count": 1, "source": "frist"}, "--shots-from is 'frist'.*first, seed, or a file"),
        ("lm-eval", {"count": 1, "source": "none.jsonl"}, r"no such file of examples \(none.jsonl\)"),
        ("olmes-cf", {"count": 5, "source": "seed"}, "chosen by hand.*--shots-from FILE"),
        ("lm-eval", {"count": 21, "source": "first"}, r"there are 20 examples, 21 are wanted.*train\.jsonl\.gz"),
    ],
)
def test_examples_that_cannot_be_had_are_one_line(data: Path, dialect: str, asked: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_task("piqa", data, dialect, None, shots=Asked(**asked))


def test_examples_need_a_file_and_records_that_fit(data: Path) -> None:
    train = data / "piqa/source/train.jsonl.gz"
    put(train, [goal(0, label=7)])
    with pytest.raises(UserError, match=r"right answer 7 is none of the 2 choices.*train\.jsonl\.gz, line 1"):
        load_task("piqa", data, "lm-eval", None, shots=Asked(count=1))
    train.unlink()
    with pytest.raises(UserError, match=r"no records of piqa to take examples from \(there are: validation\)"):
        load_task("piqa", data, "lm-eval", None, shots=Asked(count=1))


def test_the_split_is_what_the_dialect_reports_unless_it_is_said(tmp_path: Path) -> None:
    record = {"id": "q", "question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    put(tmp_path / "arc_easy/source/validation.jsonl.gz", [record])
    with pytest.raises(UserError, match=r"the test records of arc_easy are missing, which lm-eval reports.*--split"):
        load_task("arc_easy", tmp_path, "lm-eval", None)
    assert load_task("arc_easy", tmp_path, "lm-eval", None, split="validation").split == "validation"
    put(tmp_path / "arc_easy/source/test.jsonl", [record | {"question": "How?"}])
    task = load_task("arc_easy", tmp_path, "lm-eval", None)
    assert (task.split, task.instances[0].contexts[0]) == ("test", "Question: How?\nAnswer:")
    put(tmp_path / "arc_easy/source/test.jsonl.gz", [record])
    with pytest.raises(UserError, match=r"two files hold the split test: source/test\.jsonl\.gz and"):
        load_task("arc_easy", tmp_path, "lm-eval", None)
