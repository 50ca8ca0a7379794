"""Memory of large tensors is kept for the next ones."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from olmo_model.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
rounds = []
for _ in range(8):  # steps, each with tensors that live as long as activations do
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.ones(16 * 2**20) for _ in range(5)]
    del kept
    rounds.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(rounds))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
def test_pages_of_freed_tensors_are_not_made_anew():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, check=True).stdout)
        for how in ("keep", "plain")
    }
    assert faults["keep"] < 16 * 2**10
    assert faults["plain"] > 4 * 16 * 2**10
