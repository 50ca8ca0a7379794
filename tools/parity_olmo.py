"""Compare olmo-model with ai2-olmo and transformers: numbers, training, data order, checkpoints, first weights.

`python tools/parity_olmo.py --ai2 PYTHON --transformers PYTHON --work DIR`, in the environment that holds olmo-model

ai2-olmo and the newest transformers live in environments of their own, whose interpreters are given. Every process
writes what it found into the folder DIR, and only then it is compared: see tools/parity/olmo_cases.py for what, and
tools/parity/olmo_verdict.py for how far apart it may be. Prints a line for every check with its worst case; the exit
status is 1 on any miss.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from parity import olmo_verdict as verdict

TOOLS = Path(__file__).resolve().parent
OLD, NEW = "transformers-of-ai2", "transformers"


def run(python: str | Path, module: str, *words: str) -> None:
    """One side of the comparison, quietly; SystemExit with the end of its output where it fails."""
    begin = time.perf_counter()
    quiet = {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_MODE": "disabled",
    }
    done = subprocess.run(
        [str(python), "-m", f"parity.{module}", *words],
        cwd=TOOLS,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(words[1:])} failed:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
    print(f"    {module} {' '.join(words[1:])}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)


def compute(work: Path, ai2: Path, newest: Path) -> None:
    """All sides, two at a time where neither waits for the other."""
    place = str(work)
    run(sys.executable, "olmo_ours", place, "prepare")
    stages = [
        [(ai2, "olmo_ai2", "compute"), (sys.executable, "olmo_ours", "train")],
        [(sys.executable, "olmo_ours", "convert"), (sys.executable, "olmo_ours", "official")],
        [(ai2, "olmo_ai2", "load"), (ai2, "olmo_transformers", OLD), (newest, "olmo_transformers", NEW)],
    ]
    with ThreadPoolExecutor(2) as pool:
        for stage in stages:
            for future in [pool.submit(run, python, module, place, word) for python, module, word in stage]:
                future.result()


def compare(work: Path) -> list[verdict.Row]:
    """Everything that was compared."""
    versions = {
        file: f"transformers {json.loads((work / f'{file}.json').read_text(encoding='utf-8'))['version']}"
        for file in (NEW, OLD)
    }
    return [
        *verdict.models(work, {"ai2": "ai2-olmo"} | versions),
        *verdict.trainings(work),
        *verdict.orders(work),
        *verdict.schedules(work),
        *verdict.checkpoints(work),
        *verdict.loaded(work, versions),
        *verdict.initializations(work),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 where nothing is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--ai2", required=True, type=Path, help="Python with ai2-olmo")
    parser.add_argument("--transformers", required=True, type=Path, help="Python with transformers to compare with")
    parser.add_argument("--work", required=True, type=Path, help="folder to work in; its content is replaced")
    options = parser.parse_args(arguments)
    work = options.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    begin = time.perf_counter()
    compute(work, options.ai2.absolute(), options.transformers.absolute())
    rows = compare(work)
    (work / "rows.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=0, default=float), encoding="utf-8"
    )
    print("\n".join(verdict.as_table(rows)))
    missed = sum(not row.met for row in rows)
    times = os.times()
    processor = times.user + times.system + times.children_user + times.children_system
    print(
        f"{len(rows)} comparisons, {missed} missed, {time.perf_counter() - begin:.0f} s, "
        f"{processor:.0f} s of processor time"
    )
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
