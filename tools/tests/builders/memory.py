"""How much memory a piece of code takes in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2]
# The peak of this program alone: getrusage still counts what the process was before it became this program.
PEAK = "int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"


def growth(imports: str, code: str) -> tuple[list[str], int]:
    """(lines that the code printed, KiB by which the peak rose after the imports)."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to measure memory")
    program = (
        f"import sys\nsys.path.insert(0, {str(TOOLS)!r})\n{imports}\nbefore = {PEAK}\n{code}\nprint({PEAK} - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *lines, grown = done.stdout.splitlines()
    return lines, int(grown)
