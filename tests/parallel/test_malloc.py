"""Freed blocks are used again; in a process of its own, since it lasts as long as that."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from probekit.parallel import resources

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(40 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
resources.tune_malloc()
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


LEAK = """
import psutil, torch
from probekit.parallel import resources

resources.tune_malloc()
memory = psutil.Process().memory_info
for size in (8 << 20, 40 << 20, 40 << 20):  # blocks that were mapped before it are not counted
    blocks = [torch.ones(size, dtype=torch.uint8) for _ in range(8)]
    del blocks
kept = memory().rss
resources.release_memory()
print(kept - memory().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_blocks_are_released():
    pytest.importorskip("psutil")
    done = subprocess.run([sys.executable, "-c", LEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 200 << 20
