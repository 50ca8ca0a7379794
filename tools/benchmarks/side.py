"""A tool in a process of its own, which works when it is told to and waits while the others do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any


class Side:
    """The process. It answers with a line of JSON when it is ready, and with one for every line it gets."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._answer()
        self.rows: list[dict[str, Any]] = []

    def run(self) -> None:
        """Have it work once; the answer is the last of ``rows``."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.rows.append(self._answer())

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
