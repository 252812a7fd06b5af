"""Freed memory is kept, where the C library can."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
from seatrial.model.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
import torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    several = [torch.ones(2**20) for _ in range(20)]  # 4 MiB each, all freed at once
work()
before = faults()
for _ in range(10):
    work()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_memory_is_not_fetched_anew_for_every_tensor():
    kept, fetched = (
        int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT.format(keep=keep)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for keep in (True, False)
    )

    assert kept < fetched / 10
