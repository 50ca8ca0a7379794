"""The recipe runner: what is skipped, what is done again, and what a user's mistake says."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders.damage import Check

RUNNER = Path(__file__).resolve().parent.parent / "recipe.py"
spec = importlib.util.spec_from_file_location("recipe_runner", RUNNER)
assert spec is not None
assert spec.loader is not None
recipe = importlib.util.module_from_spec(spec)
sys.modules["recipe_runner"] = recipe
spec.loader.exec_module(recipe)

WRITE = "import pathlib,sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
COPY = "import pathlib,sys; pathlib.Path(sys.argv[2]).write_bytes(pathlib.Path(sys.argv[1]).read_bytes())"
COUNT = "import pathlib,sys; pathlib.Path(sys.argv[1]).open('a').write('x')"
TWO_STAGES = f"""
name: two
variables: {{greeting: hello, note: "", times: 1, rate: 0.5}}
stages:
  - name: write
    run: ${{python}} -c "{WRITE}" ${{output}}/a ${{greeting}}
    outputs: [a]
  - name: copy
    run: ${{python}} -c "{COPY}" ${{output}}/a ${{output}}/b
    inputs: [a]
    outputs: [b]
  - name: only-with-a-note
    when: note
    run: ${{python}} -c "{COUNT}" ${{output}}/c
    outputs: [c]
"""


@pytest.fixture
def two_stages(tmp_path: Path) -> tuple[str, Path]:
    file = tmp_path / "two.yaml"
    file.write_text(TWO_STAGES)
    return str(file), tmp_path / "out"


def skipped(output: Path) -> dict[str, bool]:
    return {row["name"]: row["skipped"] for row in json.loads((output / "recipe.json").read_text())["stages"]}


def test_a_second_run_skips_everything(two_stages: tuple[str, Path]) -> None:
    file, output = two_stages
    assert recipe.main([file, "--output", str(output)]) == 0
    assert (output / "b").read_text() == "hello"
    assert skipped(output) == {"write": False, "copy": False}
    assert recipe.main([file, "--output", str(output)]) == 0
    assert skipped(output) == {"write": True, "copy": True}


def test_time_stamps_do_not_matter_but_content_does(two_stages: tuple[str, Path]) -> None:
    file, output = two_stages
    recipe.main([file, "--output", str(output)])
    os.utime(output / "a", (1, 1))
    recipe.main([file, "--output", str(output)])
    assert skipped(output) == {"write": True, "copy": True}
    (output / "b").write_text("damaged")
    recipe.main([file, "--output", str(output)])
    assert skipped(output) == {"write": True, "copy": False}
    assert (output / "b").read_text() == "hello"


def test_unfinished_work_in_an_output_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "name: one\nvariables: {}\nstages:\n  - name: write\n    outputs: [d]\n"
        "    run: ${python} -c \"import pathlib; pathlib.Path('${output}/d').mkdir(exist_ok=True)\"\n"
    )
    output = tmp_path / "out"
    recipe.main([str(tmp_path / "one.yaml"), "--output", str(output)])
    (output / "d" / "step4.partial").mkdir()
    (output / "d" / "step4.partial" / "half").write_text("x")
    recipe.main([str(tmp_path / "one.yaml"), "--output", str(output)])
    assert skipped(output) == {"write": True}


def test_the_folder_passes_the_check_until_an_output_is_changed(two_stages: tuple[str, Path], check: Check) -> None:
    file, output = two_stages
    recipe.main([file, "--output", str(output)])
    assert check(output) == (0, [f"ok: recipe {output} (2 stages, no suite and mixed to hold against each other)"])
    (output / "b").write_text("damaged")
    assert check(output) == (
        1,
        [f"{output}/b: not as the stage copy left it", f"failed: recipe {output} (1 problem)"],
    )
    recipe.main([file, "--output", str(output)])
    assert check(output)[0] == 0


def test_a_changed_variable_runs_what_depends_on_it(two_stages: tuple[str, Path]) -> None:
    file, output = two_stages
    recipe.main([file, "--output", str(output)])
    assert recipe.main([file, "--output", str(output), "--set", "greeting=good day", "note=yes"]) == 0
    assert (output / "b").read_text() == "good day"
    assert skipped(output) == {"write": False, "copy": False, "only-with-a-note": False}


def test_values_of_variables_have_the_type_of_their_default() -> None:
    defaults = {"note": "", "times": 1, "rate": 0.5}
    assert recipe.parse_set(["rate=1e-3", "times=20", "note=a=b"], defaults) == {
        "rate": 0.001,
        "times": 20,
        "note": "a=b",
    }


def test_a_recipe_that_extends_another_overrides_its_variables(two_stages: tuple[str, Path], tmp_path: Path) -> None:
    _, output = two_stages
    (tmp_path / "small.yaml").write_text("name: small\nextends: two.yaml\nvariables: {greeting: hi}\n")
    assert recipe.main([str(tmp_path / "small.yaml"), "--output", str(output)]) == 0
    assert (output / "b").read_text() == "hi"
    (tmp_path / "small.yaml").write_text("name: small\nextends: two.yaml\nvariables: {greting: hi}\n")
    assert recipe.main([str(tmp_path / "small.yaml"), "--output", str(output)]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.yaml"], "no recipe nothing.yaml"),
        (["FILE", "--set", "greting=x"], "did you mean greeting? write NAME=VALUE with one of greeting, note, rate"),
        (["FILE", "--set", "greeting"], "--set greeting: write NAME=VALUE with one of greeting"),
        (["FILE", "--set", "times=many"], "--set times=many: times is a whole number, such as 1"),
        (["FILE", "--set", "times=1.5"], "--set times=1.5: times is a whole number, such as 1"),
        (["FILE", "--set", "times=yes"], "--set times=yes: times is a whole number, such as 1"),
        (["FILE", "--set", "rate=1e"], "--set rate=1e: rate is a number, such as 0.5"),
        (["FILE", "--input", "no-such-file"], "no such file or folder: no-such-file"),
    ],
)
def test_a_mistake_gives_one_line_and_status_2(
    two_stages: tuple[str, Path], arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file, output = two_stages
    arguments = [file if word == "FILE" else word for word in arguments]
    assert recipe.main([*arguments, "--output", str(output)]) == 2
    errors = capfd.readouterr().err
    assert says in errors
    assert errors.count("\n") == 1


def test_a_failing_stage_stops_the_run_and_is_run_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "fail.yaml", tmp_path / "out"
    file.write_text(
        "name: fail\nvariables: {}\nstages:\n"
        "  - {name: fails, run: '${python} -c \"raise SystemExit(2)\"', outputs: [a]}\n"
        "  - {name: after, run: '${python} -c \"print(1)\"'}\n"
    )
    assert recipe.main([str(file), "--output", str(output)]) == 2
    assert "stage fails ended with exit status 2" in capfd.readouterr().err
    file.write_text(file.read_text().replace("raise SystemExit(2)", "pass"))
    assert recipe.main([str(file), "--output", str(output)]) == 2
    assert "did not write" in capfd.readouterr().err


def test_a_blank_in_a_path_splits_nothing_and_lists_spread_out() -> None:
    words = recipe.fill_command("run ${inputs} --to ${where}/x", {"inputs": ["a b", "c"], "where": "d e"})
    assert words == ["run", "a b", "c", "--to", "d e/x"]


def test_two_runs_into_one_folder_are_refused_even_when_the_first_runner_was_killed(tmp_path: Path) -> None:
    file, output = tmp_path / "slow.yaml", tmp_path / "out"
    file.write_text(
        "name: slow\nvariables: {}\nstages:\n  - {name: sleep, run: '${python} -c \"import time; time.sleep(60)\"'}\n"
    )
    command = [sys.executable, str(RUNNER), str(file), "--output", str(output)]
    first = subprocess.Popen(command, start_new_session=True)
    try:
        child = None
        while child is None:
            time.sleep(0.1)
            children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
            if not children.exists():
                pytest.skip("needs /proc to find the child process")
            child = next(iter(children.read_text().split()), None)
        first.kill()  # the runner alone: its command lives on
        first.wait()
        second = subprocess.run(command, capture_output=True, text=True, timeout=50)
        assert second.returncode == 2
        assert "another run still works in" in second.stderr
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_a_variable_beyond_its_bound_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.yaml").write_text(TWO_STAGES + "at_most: {rate: times}\n")
    arguments = [str(tmp_path / "two.yaml"), "--output", str(tmp_path / "out"), "--dry-run"]

    assert recipe.main(arguments) == 0
    assert recipe.main([*arguments, "--set", "rate=1.5"]) == 2
    assert "rate is 1.5, more than times, 1; add --set rate=1" in capsys.readouterr().err


def test_a_tokenizer_that_is_no_json_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tokenizer.json").write_text("{broken")
    (tmp_path / "two.yaml").write_text(TWO_STAGES)

    arguments = ["--output", str(tmp_path / "out"), "--tokenizer", str(tmp_path / "tokenizer.json")]
    assert recipe.main([str(tmp_path / "two.yaml"), *arguments]) == 2

    assert "tokenizer.json is not a tokenizer.json: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
