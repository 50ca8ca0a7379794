"""Make one self-contained page, ``report.html``, from the artifacts that a recipe run left in a folder.

``python tools/report.py OUTPUT_DIR``. A stage that has not run leaves a line in its section; a damaged file does too,
is named on standard error, and makes the exit status 2.
"""

from __future__ import annotations

import sys
from pathlib import Path

from report.page import write

USAGE = "python tools/report.py OUTPUT_DIR"


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 where everything that is there was shown, 2 otherwise."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"usage: {USAGE}\n\n{__doc__}")
        return 0
    if len(arguments) != 1 or arguments[0].startswith("-"):
        return failed(f"give the folder of one recipe run; {USAGE}")
    folder = Path(arguments[0])
    if not folder.is_dir():
        return failed(f"no such folder ({folder}); {USAGE}")
    try:
        target, problems = write(folder)
    except OSError as error:
        return failed(f"{error.strerror} ({error.filename}); check the folder, its rights and the space left")
    print(target)
    for problem in problems:
        failed(problem)
    return 2 if problems else 0


def failed(what: str) -> int:
    line = " ".join(what.split()).encode("utf-8", "backslashreplace").decode()
    print(f"error: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
