"""Freed blocks are used again; in a process of its own, since it lasts as long as that."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from probekit.extractors import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(40 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
memory.tune_malloc()
for _ in range(4):  # glibc needs some blocks to begin with
    faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_blocks_are_not_cleared_again_and_again():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    pages = (40 << 20) // 4096
    assert before > pages  # at least two of the four blocks were new to the process
    assert after < pages / 100
