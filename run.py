#!/usr/bin/env python3
"""Run a session of this project on a fresh machine: `python3 run.py recipe`, `python3 run.py tests`.

Needs Python 3.11 or newer and nothing else. It makes an environment in `.run` (so that an externally managed system
Python is left alone), installs nox and uv there and calls `nox -s SESSION`; whatever stands after `--` goes on to the
session. `python3 run.py --list` shows the sessions.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".run"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = ["nox>=2025.2.9", "uv>=0.6"]


def make_environment() -> None:
    """Make `.run` with nox and uv in it, or stop with one line that says what is missing."""
    ready = ENVIRONMENT / "ready"
    if ready.exists() and PYTHON.exists():
        return
    print(f"making an environment in {ENVIRONMENT}", file=sys.stderr)
    installer = [str(PYTHON), "-m", "pip"]
    try:
        venv.EnvBuilder(clear=True, with_pip=True).create(ENVIRONMENT)
    except (subprocess.CalledProcessError, SystemExit):  # a system Python without ensurepip
        venv.EnvBuilder(clear=True, with_pip=False).create(ENVIRONMENT)
        installer = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    command = [*installer, "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    if subprocess.run(command).returncode != 0:
        sys.exit(
            "error: nox and uv could not be installed; is the package index reachable, "
            "and pip there (on Debian: apt install python3-venv)?"
        )
    ready.touch()


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (it is older versions that this line is for)
        sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; use a newer python3")
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    make_environment()
    session = ["--list"] if arguments[0] == "--list" else ["-s", *arguments]
    scripts = str(PYTHON.parent)
    environment = os.environ | {"PATH": scripts + os.pathsep + os.environ.get("PATH", "")}
    # the environments that nox makes are built on the Python that was started, not on the one in .run
    command = [str(PYTHON), "-m", "nox", "-f", str(ROOT / "noxfile.py"), *session]
    try:
        return subprocess.run(command, env=environment, cwd=ROOT).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
