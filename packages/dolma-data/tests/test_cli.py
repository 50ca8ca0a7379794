"""The command line as a whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("numpy", "numba", "tokenizers", "trafilatura", "warcio", "regex")
COMMANDS = ("extract", "tag", "dedupe", "decontaminate", "stat", "mix", "train-tokenizer", "tokens", "train-classifier")


def test_the_command_line_imports_nothing_heavy():
    program = f"import sys, dolma_data.cli; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_package_runs_as_a_module():
    found = subprocess.run(
        [sys.executable, "-m", "dolma_data", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(dolma, capsys, command):
    assert dolma(command, "--help") == 0
    assert "--dry-run" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_nearest(dolma, capsys):
    assert dolma("tokns") == 2
    assert "did you mean tokens?" in capsys.readouterr().err


def test_an_unknown_option_is_refused(dolma, capsys):
    assert dolma("extract", "x", "--outptu", "y") == 2
    assert "--output" in capsys.readouterr().err


def test_a_command_leaves_a_record_of_what_it_did(dolma, write_documents, tmp_path):
    root = write_documents([{"id": "1", "text": "x", "source": "s"}])
    path = root / "documents/a.jsonl.gz"
    for _ in range(2):
        assert dolma("extract", path, "--output", tmp_path / "out", "--source", "given") == 0
    records = [json.loads(file.read_bytes()) for file in (tmp_path / "out/provenance").iterdir()]
    assert len(records) == 2
    for record in records:
        assert record["command"] == "extract"
        assert record["config"]["source"] == "given"
        assert record["counts"] == {"read": 1, "kept": 1, "dropped": 0, "failed": 0}
        assert list(record["inputs"]) == [str(path)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["tag"], "tag needs --documents; give it on the line, or in a file with -c FILE (tag --help says what it is)"),
        (["mix"], "mix needs --streams; give it on the line, or in a file with -c FILE (mix --help says what it is)"),
        (["why"], "why needs IDENTIFIER; give it on the line (why --help says what it is)"),
        (["tag", "--document", "corpus"], "unknown option --document; did you mean --documents?"),
        (
            ["tag", "--documents", "x", "--taggers", "y", "--seed"],
            "--seed stands without a value; give one behind it",
        ),
    ],
)
def test_a_setting_that_is_not_there_is_named_with_where_to_give_it(dolma, capsys, line, message):
    assert dolma(*line) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_why_offers_no_setting_that_does_nothing(dolma, capsys):
    assert dolma("why", "--help") == 0
    told = capsys.readouterr().out
    assert "--streams" in told
    assert not [name for name in ("shuffle", "seed", "max-failed", "processes", "dry-run") if f"--{name}" in told]


def test_a_plan_names_nothing_twice(dolma, tmp_path, capsys):
    stream = """
  - name: {}
    documents: &same [nowhere]
    output: {{path: out, discard_fields: *same}}
"""
    (tmp_path / "mix.yaml").write_text("streams:" + stream.format("a"))
    assert dolma("-c", tmp_path / "mix.yaml", "mix", "--dry-run") == 0
    assert "&" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "settings", "line", "told"),
    [
        ("tokens", {"ring_size": "eight"}, [], "ring_size is 'eight', not a whole number"),
        ("tokens", {"ring_size": True}, [], "ring_size is True, not a whole number"),
        ("tokens", {"batch_size": [1]}, [], "batch_size is [1], not a whole number"),
        ("tokens", {"tokenizer": {"fast": 3}}, [], "tokenizer.fast is 3, not true or false"),
        ("tag", {"work_dir": {"input": 5}}, [], "work_dir.input is 5, not text"),
        ("tag", {"ignore_existing": {}}, [], "ignore_existing is {}, not true or false"),
        ("stat", {}, ["--seed", "none"], "seed is 'none', not a whole number"),
        ("dedupe", {}, ["--is_s3_volume=maybe"], "is_s3_volume is 'maybe', not true or false"),
    ],
)
def test_values_of_keys_without_effect_have_a_type_too(dolma, tmp_path, capsys, command, settings, line, told):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert dolma("-c", tmp_path / "config.json", command, *line, "--dry-run") == 2
    assert told in capsys.readouterr().err
