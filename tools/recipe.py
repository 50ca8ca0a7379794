"""Run a recipe: the packages' own commands, one after the other, on artifacts in one folder.

`python tools/recipe.py recipes/quickstart.yaml --output DIR [--input PATH …] [--tokenizer FILE] [--set NAME=VALUE …]`

A recipe is YAML: `variables` and `stages`. A stage names a command line, the artifacts it reads and writes and, where
the command takes a configuration file, that file's content. A stage is skipped when nothing it depends on has changed:
the command, the code of the package, the configuration, and the content (never the time stamp) of what it reads and
wrote.
"""

from __future__ import annotations

import argparse
import difflib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

TOOLS = Path(__file__).resolve().parent
NOT_CONTENT = ("provenance",)
STAGE_KEYS = {"name", "description", "run", "when", "inputs", "outputs", "config", "resumes"}
RECIPE_KEYS = {"name", "description", "extends", "variables", "at_most", "stages"}


class RecipeError(Exception):
    """A mistake that the user can mend, said in one line."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came to the runner alone; its command has not heard of it."""


@dataclass(frozen=True)
class Stage:
    """One command of a recipe, its variables filled in."""

    name: str
    description: str
    command: list[str]
    inputs: list[Path]
    outputs: list[Path]
    config: object = None
    resumes: bool = False  # goes on with what it wrote; valid only under the key it was begun with


@dataclass
class Digests:
    """Content digests of files and folders, remembered until a stage writes again."""

    known: dict[Path, str] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        if path not in self.known:
            self.known[path] = digest(path)
        return self.known[path]

    def forget(self) -> None:
        self.known.clear()


def digest(path: Path) -> str:
    """`sha256:…` of a file, or of a folder's sorted relative paths and file digests; `missing` where there is none."""
    if path.is_file():
        with open(path, "rb") as stream:
            return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    if not path.is_dir():
        return "missing"
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        unfinished = any(part.endswith(".partial") for part in relative.parts)
        if file.is_file() and not unfinished and not set(relative.parts) & set(NOT_CONTENT):
            total.update(f"{relative.as_posix()}\0{digest(file)}\n".encode())
    return "sha256:" + total.hexdigest()


def code_digest(command: list[str]) -> str:
    """Digest of the code that a command line runs: the package's modules, or the script of this folder."""
    module = Path(command[0]).name.replace("-", "_")
    total = hashlib.sha256()
    files = [Path(argument) for argument in command if argument.endswith(".py") and Path(argument).is_file()]
    for script in list(files):
        files.extend(sorted(script.with_suffix("").rglob("*")))
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is not None and spec.submodule_search_locations:
        files.extend(sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")))
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            total.update(file.read_bytes())
    return total.hexdigest()


def find_recipe(name: str) -> Path:
    for candidate in (Path(name), TOOLS / name, TOOLS / "recipes" / name):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(f"recipes/{file.name}" for file in (TOOLS / "recipes").glob("*.yaml")))
    raise RecipeError(f"no recipe {name}; there are {known}")


def load_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe; one that `extends` another takes its stages and overrides its variables."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict) or set(recipe) - RECIPE_KEYS:
        raise RecipeError(f"{path}: a recipe has the keys {', '.join(sorted(RECIPE_KEYS))}")
    if "extends" in recipe:
        base_file = path.parent / recipe["extends"]
        if not base_file.is_file():
            raise RecipeError(f"{path} extends {base_file}, which does not exist")
        base = load_recipe(base_file)
        unknown = set(recipe.get("variables", {})) - set(base["variables"])
        if unknown:
            raise RecipeError(f"{path}: unknown variables {', '.join(sorted(unknown))}")
        recipe = base | recipe | {"variables": base["variables"] | recipe.get("variables", {})}
    missing = {"name", "variables", "stages"} - set(recipe)
    if missing:
        raise RecipeError(f"{path}: {', '.join(sorted(missing))} is missing")
    for entry in recipe["stages"]:
        if not isinstance(entry, dict) or not {"name", "run"} <= set(entry):
            raise RecipeError(f"{path}: a stage has at least name and run: {entry}")
    return recipe


def fill(value: Any, variables: Mapping[str, Any]) -> Any:
    """Put variables in place of `${name}`; a value that is one `${name}` alone keeps the variable's type."""
    if isinstance(value, dict):
        return {key: fill(entry, variables) for key, entry in value.items()}
    if isinstance(value, list):
        return [fill(entry, variables) for entry in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> Any:
        if match[1] not in variables:
            raise RecipeError(f"unknown variable ${{{match[1]}}} in {value!r}")
        return variables[match[1]]

    whole = re.fullmatch(r"\$\{(\w+)\}", value)
    if whole:
        return look_up(whole)
    return re.sub(r"\$\{(\w+)\}", lambda match: str(look_up(match)), value)


def fill_command(line: str, variables: Mapping[str, Any]) -> list[str]:
    """Split a command line, then fill in variables, so that a blank in a path splits nothing; lists spread out."""
    words: list[str] = []
    for word in shlex.split(line):
        filled = fill(word, variables)
        words.extend(str(entry) for entry in filled) if isinstance(filled, list) else words.append(str(filled))
    return words


def wanted(stage: dict[str, Any], variables: Mapping[str, Any]) -> bool:
    """`when: name` and `when: not name` ask whether a variable is set; several stand in a list."""
    conditions = stage.get("when", [])
    for condition in [conditions] if isinstance(conditions, str) else conditions:
        name = condition.removeprefix("not ")
        if name not in variables:
            raise RecipeError(f"stage {stage['name']}: unknown variable {name!r} in when")
        if bool(variables[name]) == condition.startswith("not "):
            return False
    return True


def make_stage(entry: dict[str, Any], variables: Mapping[str, Any], output: Path) -> Stage:
    for unknown in sorted(set(entry) - STAGE_KEYS):
        near = difflib.get_close_matches(unknown, STAGE_KEYS, 1)
        fix = f"did you mean {near[0]}?" if near else f"a stage has {', '.join(sorted(STAGE_KEYS))}"
        raise RecipeError(f"stage {entry['name']}: unknown key {unknown}; {fix}")

    def paths(key: str) -> list[Path]:
        found: list[Path] = []
        for value in fill(entry.get(key, []), variables):
            found.extend(output / part for part in (value if isinstance(value, list) else [value]))
        return found

    config = fill(entry.get("config"), variables)
    return Stage(
        name=entry["name"],
        description=" ".join(entry.get("description", "").split()),
        command=fill_command(entry["run"], variables),
        inputs=paths("inputs"),
        outputs=paths("outputs"),
        config=config,
        resumes=bool(entry.get("resumes", False)),
    )


def executable(name: str) -> str:
    """The console command of this environment, else that on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise RecipeError(f"the command {name} is not installed; pip install it (packages/{name})")
    return found


def stage_key(stage: Stage, digests: Digests) -> str:
    state = {
        "command": stage.command,
        "config": stage.config,
        "code": code_digest(stage.command),
        "python": platform.python_version(),
        "inputs": {str(path): digests.of(path) for path in stage.inputs},
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_stamp(path: Path) -> dict[str, Any]:
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


@contextmanager
def lock(output: Path) -> Iterator[int]:
    """Hold the folder for one run; commands inherit the lock, so that one outliving a killed runner still holds it."""
    path = output / ".recipe" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecipeError(f"another run still works in {output}; wait for it or end it") from error
        yield stream.fileno()


def run_command(command: list[str], inherited: int) -> tuple[int, int, bool]:
    """Run to the end: exit status, peak memory in bytes of the largest process, whether the user asked to stop."""
    process = subprocess.Popen([executable(command[0]), *command[1:]], pass_fds=[inherited])
    stopped = False
    while True:
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except Terminated:
            stopped = True
            process.terminate()
            continue
        except KeyboardInterrupt:  # the command got the signal too and stops by itself
            stopped = True
            continue
        process.returncode = os.waitstatus_to_exitcode(status)
        unit = 1 if sys.platform == "darwin" else 1024
        return process.returncode, usage.ru_maxrss * unit, stopped


class Runner:
    """Runs the stages of one recipe into one folder and keeps `recipe.json` up to date."""

    def __init__(self, name: str, output: Path) -> None:
        self.output = output
        self.digests = Digests()
        self.rows: list[dict[str, Any]] = []
        self.log: dict[str, Any] = {"recipe": name, "started": now(), "finished": None, "stages": self.rows}

    def run(self, stage: Stage, held: int) -> None:
        """Run a stage, or skip it where nothing has changed; a failing command raises RecipeError."""
        stamp_file = self.output / ".recipe" / f"{stage.name}.json"
        stamp = read_stamp(stamp_file)
        key = stage_key(stage, self.digests)
        row: dict[str, Any] = {"name": stage.name, "command": stage.command, "description": stage.description}
        self.rows.append(row)
        done = stamp.get("key") == key and stamp.get("outputs") == self.outputs(stage)
        if done:
            say(f"✓ {stage.name}: nothing changed, skipped")
            row |= {"skipped": True, "seconds": stamp["seconds"], "peak_memory_bytes": stamp["peak_memory_bytes"]}
            self.save()
            return
        say(f"▶ {stage.name}: {shlex.join(stage.command)}")
        if stage.resumes and stamp and stamp.get("begun") != key:
            for path in stage.outputs:
                say(f"  {path} was made under other settings and is made anew")
                shutil.rmtree(path, ignore_errors=True)
        write_json(stamp_file, {"begun": key})
        if stage.config is not None:
            config_file = self.output / "configs" / f"{stage.name}.yaml"
            config_file.parent.mkdir(parents=True, exist_ok=True)
            config_file.write_text(yaml.safe_dump(stage.config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        started = time.monotonic()
        status, memory, stopped = run_command(stage.command, held)
        seconds = time.monotonic() - started
        self.digests.forget()
        row |= {"skipped": False, "seconds": round(seconds, 2), "peak_memory_bytes": memory}
        if status != 0:
            if stopped or status in (130, -signal.SIGINT):
                raise KeyboardInterrupt
            ended = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
            raise RecipeError(
                f"stage {stage.name} {ended}; mend what it says above, the same command goes on from here"
            )
        missing = [str(path) for path in stage.outputs if not path.exists()]
        if missing:
            raise RecipeError(f"stage {stage.name} did not write {', '.join(missing)}")
        # the key is taken again: a stage may read a folder that it also writes to
        stamp = {"begun": key, "key": stage_key(stage, self.digests), "outputs": self.outputs(stage)}
        write_json(stamp_file, stamp | {"seconds": row["seconds"], "peak_memory_bytes": memory})
        say(f"✓ {stage.name}: {seconds:.1f} s, {memory / 2**20:,.0f} MiB")
        self.save()
        if stopped:
            raise KeyboardInterrupt

    def outputs(self, stage: Stage) -> dict[str, str]:
        return {str(path): self.digests.of(path) for path in stage.outputs}

    def save(self, finished: bool = False) -> None:
        self.log["finished"] = now() if finished else None
        write_json(self.output / "recipe.json", self.log)


def terminate(*_: object) -> None:
    raise Terminated


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse_set(assignments: list[str], variables: dict[str, Any]) -> dict[str, Any]:
    """The variables that `--set` changes; one that stands for a number takes nothing else."""
    changed = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in variables:
            near = difflib.get_close_matches(name, variables, 1)
            meant = f"did you mean {near[0]}? " if near and equals else ""
            known = ", ".join(sorted(variables))
            raise RecipeError(f"--set {assignment}: {meant}write NAME=VALUE with one of {known}")
        try:
            changed[name] = float(value) if type(variables[name]) is float else yaml.safe_load(value)
        except ValueError as error:
            raise RecipeError(f"--set {assignment}: {name} is a number, such as {variables[name]}") from error
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {assignment}: the value is not valid YAML; put it in quotes") from error
        if type(variables[name]) is int and type(changed[name]) is not int:
            raise RecipeError(f"--set {assignment}: {name} is a whole number, such as {variables[name]}")
    return changed


def check_bounds(at_most: Mapping[str, str], variables: Mapping[str, Any]) -> None:
    """Refuse a variable that is larger than the one that bounds it, before hours of work come to the same."""
    for name, bound in at_most.items():
        if variables[name] > variables[bound]:
            told = f"{name} is {variables[name]}, more than {bound}, {variables[bound]}"
            raise RecipeError(f"{told}; add --set {name}={variables[bound]} or a smaller number")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="recipe.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", help="recipe file, for example recipes/quickstart.yaml")
    parser.add_argument("--output", required=True, type=Path, help="folder for everything the recipe makes")
    parser.add_argument(
        "--input",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        help="your own files instead of the Python documentation",
    )
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json instead of training one")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="change variables")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, terminate)
    try:
        return run_recipe(options)
    except RecipeError as error:
        say(f"error: {error}")
        return 2
    except OSError as error:
        say(f"error: {error.strerror} ({error.filename}); check the path, its rights and the space left")
        return 2
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return 130


def run_recipe(options: argparse.Namespace) -> int:
    recipe = load_recipe(find_recipe(options.recipe))
    for path in [*options.input, *([options.tokenizer] if options.tokenizer else [])]:
        if not path.exists():
            raise RecipeError(f"no such file or folder: {path}")
    if options.tokenizer and options.tokenizer.is_file():
        try:
            json.loads(options.tokenizer.read_bytes())
        except ValueError as error:
            raise RecipeError(f"{options.tokenizer} is not a tokenizer.json: {error}") from error
    data = os.environ.get("DATA_DIR")
    if data and not Path(data).is_dir():
        raise RecipeError(f"DATA_DIR={data} is not a folder; unset it or mend it")
    output = options.output.resolve()
    variables: dict[str, Any] = dict(recipe["variables"])
    variables |= parse_set(options.set, variables)
    check_bounds(recipe.get("at_most", {}), variables)
    variables |= {
        "output": str(output),
        "input": [str(path.resolve()) for path in options.input],
        "own_tokenizer": str(options.tokenizer.resolve()) if options.tokenizer else "",
        "data": str(Path(data).resolve()) if data else "",
        "tools": str(TOOLS),
        "python": Path(sys.executable).name,
    }
    entries = [entry for entry in recipe["stages"] if wanted(entry, variables)]
    if options.dry_run:
        variables["checkpoint"] = str(output / "run" / "latest")
        for entry in entries:
            print(shlex.join(make_stage(entry, variables, output).command))
        return 0
    started = time.monotonic()
    with lock(output) as held:
        runner = Runner(recipe["name"], output)
        for entry in entries:
            latest = output / "run" / "latest"
            variables["checkpoint"] = str(
                output / "run" / (latest.read_text().strip() if latest.exists() else "latest")
            )
            runner.run(make_stage(entry, variables, output), held)
        runner.save(finished=True)
    say(f"done in {time.monotonic() - started:.0f} s: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
