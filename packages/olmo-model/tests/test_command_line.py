"""The skin that all four commands share: configuration files, help, and errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from olmo_model import cli
from olmo_model.command_line import load_yaml, run
from olmo_model.errors import UserError

COMMAND = [sys.executable, "-c", "from olmo_model.cli import main; main()"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: 1\nseed: 2\n", r"the key 'seed' comes twice \(.*c\.yaml, line 2\)"),
        (b"data:\n  tokens: a\n  tokens: b\n", r"the key 'tokens' comes twice \(.*c\.yaml, line 3\)"),
        (b"seed: 1\n2: 3\n", r"the key '2' is not text \(.*c\.yaml, line 2\)"),
        (b"seed: 2001-99-99\n", r"not valid YAML: month must be in 1\.\.12"),
        (b"a: " + b"[" * 3000, "not valid YAML: maximum recursion depth"),
        (b"a: b\n\tc: d\n", r"cannot start any token \(.*c\.yaml, line 2\)"),
        (b"a: b\n--- \nc: d\n", "found another document"),
        (b"a: \x01\n", "not valid YAML: a character that is not allowed"),
        (b"\xff\xfe", "not valid YAML: not text"),
        (b"", "the configuration is not a mapping"),
    ],
)
def test_a_configuration_that_is_none_is_refused_with_its_line(tmp_path, content, message):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_yaml(tmp_path / "c.yaml")


def test_merged_keys_and_aliases_are_no_repetition(tmp_path):
    (tmp_path / "c.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n")
    assert load_yaml(tmp_path / "c.yaml")["b"] == {"x": 1, "y": 3}


def call(*arguments: str) -> int:
    return run(cli.app, list(arguments), positional_config=frozenset({"train", "plan"}))


def test_a_folder_as_configuration_is_one_line(tmp_path, capsys):
    assert call("train", "-c", str(tmp_path)) == 2
    assert capsys.readouterr().err == (
        f"error: Is a directory ({tmp_path}); check the path, its rights and the space left\n"
    )


def test_a_wrong_number_of_values_names_its_key(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("save_folder: x\ndata: {tokens: y}\noptimizer: {betas: 3}\n")
    assert call("train", "-c", str(tmp_path / "c.yaml")) == 2
    assert capsys.readouterr().err.startswith("error: --optimizer.betas: ")


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_help_stands_anywhere_and_needs_nothing_else_to_be_right(flag, place, capsys):
    line = ["train", "--seed", "many"]
    line.insert(place, flag)
    assert call(*line) == 0
    assert "--optimizer.learning-rate" in capsys.readouterr().out


def test_help_is_broken_into_lines_once(capsys):
    width = cli.app.console.width
    for command in ([], ["train"], ["generate"]):
        assert call(*command, "--help") == 0
        lines = capsys.readouterr().out.splitlines()
        for line, after in pairwise(lines):
            assert len(line) <= width
            assert line == line.rstrip()
            if after.startswith("      "):  # goes on: its first word had no room in the line before
                assert len(line) + 1 + len(after.split()[0]) > width, line


def test_help_of_an_unknown_command_is_an_error(capsys):
    assert call("trian", "--help") == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_after_two_dashes_nothing_is_a_request_for_help(capsys):
    assert call("which-data", "--step", "1", "--", "--help") == 2
    assert "no run here: manifest.json is missing (--help)" in capsys.readouterr().err


SHORT = """
import sys
from olmo_model.command_line import make_app, run

app = make_app("say", "olmo-model", "Says a word.")
app.command(lambda: print("word"), name="word")
sys.exit(run(app, ["word"]))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [[sys.executable, "-c", SHORT], [*COMMAND, "train", "--help"]])
def test_output_on_a_full_disk_is_one_line(command):
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    told = "error: No space left on device (standard output); check the path, its rights and the space left\n"
    assert done.stderr == told


def test_a_closed_standard_output_disturbs_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert call("--version") == 0
