"""Freed memory is kept, and given back between chunks, where the C library can."""

import subprocess
import sys

import pytest

from seatrial.model import MemoryBudget
from seatrial.steering.intervention import Intervention, Steering
from seatrial.testing import tiny_model
from seatrial.types import Request

SCRIPT = """
import resource
from seatrial.model.engine.allocator import keep_freed_memory
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


HOLES = """
from seatrial.model.engine.allocator import give_back_freed, keep_freed_memory
assert keep_freed_memory()
import torch
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
several = [torch.ones(2**20) for _ in range(50)]  # 4 MiB each
above = torch.ones(2**12)
del several
before = resident()
assert give_back_freed()
print(before - resident())
"""

glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")


@glibc
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


@glibc
def test_holes_are_given_back_too():
    freed = subprocess.run(
        [sys.executable, "-c", HOLES], capture_output=True, text=True, check=True
    ).stdout

    assert int(freed) > 150 * 2**10


def test_it_happens_between_chunks_and_not_after_the_only_one(monkeypatch):
    given = []
    monkeypatch.setattr(
        "seatrial.model.engine.chunks.give_back_freed", lambda: given.append(1)
    )
    under = [Steering(Intervention({}), 0.0)]
    requests = [Request(str(k), "g", "one two three " * (k + 1), (" x",)) for k in range(6)]
    tiny_model("llama").log_probs(requests[:2], under)
    assert not given

    tiny_model("llama", budget=MemoryBudget(tokens=8, cache_bytes=1)).log_probs(
        requests, under
    )
    assert given
