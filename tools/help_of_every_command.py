"""Run `COMMAND --help` and `COMMAND SUBCOMMAND --help` for an installed package; say how much the slowest cost.

`python tools/help_of_every_command.py olmo-model olmo_model`: exits 1 if a help text fails, is empty, or takes more
than a second of processor time, which only an import that does not belong there does. Run it with the Python of the
environment that is to be tested.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

MOST_SECONDS = 1.0


def processor_seconds() -> float:
    """User and system time of all children so far."""
    times = os.times()
    return times.children_user + times.children_system


def main(command: str, module: str) -> int:
    app = importlib.import_module(f"{module}.cli").app
    executable = Path(sys.executable).parent / command
    names = [name for name in app if not name.startswith("-")]
    subprocess.run([executable, "--help"], capture_output=True)  # compiles the modules once
    cost = {}
    for arguments in [["--help"], ["--version"], *([name, "--help"] for name in names)]:
        started, before = time.monotonic(), processor_seconds()
        done = subprocess.run([executable, *arguments], capture_output=True, text=True)
        cost[" ".join(arguments)] = (processor_seconds() - before, time.monotonic() - started)
        if done.returncode != 0 or not done.stdout.strip():
            print(f"{command} {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
            return 1
    slowest = max(cost, key=lambda name: cost[name])
    seconds, wall = cost[slowest]
    print(f"{command}: help of {len(names)} commands ({', '.join(names)})")
    print(f"slowest: {slowest}, {wall:.2f} s, {seconds:.2f} s of processor time")
    return 1 if seconds > MOST_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
