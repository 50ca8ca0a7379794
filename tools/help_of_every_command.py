"""Run `COMMAND --help` and `COMMAND SUBCOMMAND --help` for an installed package, and say how long the slowest took.

`python tools/help_of_every_command.py olmo-model olmo_model`: exits 1 if a help text fails or is empty. Run it with the
Python of the environment that is to be tested.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path


def main(command: str, module: str) -> int:
    app = importlib.import_module(f"{module}.cli").app
    executable = Path(sys.executable).parent / command
    names = [name for name in app if not name.startswith("-")]
    slowest = 0.0
    for arguments in [["--help"], ["--version"], *([name, "--help"] for name in names)]:
        started = time.monotonic()
        done = subprocess.run([executable, *arguments], capture_output=True, text=True)
        slowest = max(slowest, time.monotonic() - started)
        if done.returncode != 0 or not done.stdout.strip():
            print(f"{command} {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
            return 1
    print(f"{command}: help of {len(names)} commands ({', '.join(names)}), slowest {slowest:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
