"""Memory of large tensors is kept for the next ones."""

import platform
import resource

import pytest
import torch
from separate import apart

from olmo_model.allocator import keep_freed_memory

FLOATS = 10 * 2**20  # of a tensor: 10,240 pages; up to 32 MiB glibc may keep memory by itself


def fewest_faults(keep: bool) -> int:
    """Pages that a step makes anew, of several steps, each with tensors that live as long as activations do."""
    if keep:
        assert keep_freed_memory()
    rounds = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [torch.ones(FLOATS) for _ in range(5)]
        del kept
        rounds.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(rounds)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
def test_pages_of_freed_tensors_are_not_made_anew():
    pages = FLOATS * 4 // resource.getpagesize()
    assert apart(fewest_faults, True) < pages
    assert apart(fewest_faults, False) > 4 * pages
