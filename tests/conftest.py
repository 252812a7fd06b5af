"""What holds for every test: offline, and `seatrial` imported after jaxtyping's hook.

The hook of `--jaxtyping-packages` checks shapes only in modules that are imported after it,
so this file imports `seatrial` inside fixtures and nowhere else.
"""

import functools
import os

# huggingface_hub and tokenizers read these once, when they are first imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the network tests are run with 0
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else every fork prints a warning

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; the timeout guards us.
settings.register_profile("seatrial", deadline=None)
settings.load_profile("seatrial")


def pytest_report_header(config: pytest.Config) -> str:
    return f"tests chosen by marker: {config.option.markexpr or 'all'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("network"):
            item.add_marker(pytest.mark.enable_socket)


@pytest.fixture(scope="session")
def tiny():
    """Random models by family, each made once: ``tiny("llama", bos=False)``."""
    from seatrial.testing import tiny_model

    return functools.cache(tiny_model)


@pytest.fixture(scope="session")
def push():
    """Steerings that add a random vector: ``push(model, 1, "attn", tokens="last")``."""
    import torch

    from seatrial.steering.edits import Add
    from seatrial.steering.intervention import Intervention, Steering
    from seatrial.types import Site

    def make(model, layer=1, point="resid", tokens="all", dose=1.3, seed=0):
        site = Site(layer, point)
        generator = torch.Generator().manual_seed(1000 * seed + layer)
        vector = torch.randn(model.width(site), generator=generator)
        return Steering(Intervention({site: Add(vector)}, tokens), dose)

    return make
