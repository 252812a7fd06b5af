"""What holds for every test: offline, and `seatrial` imported after jaxtyping's hook.

The hook of `--jaxtyping-packages` checks shapes only in modules that are imported after it,
so this file imports `seatrial` inside fixtures and nowhere else.
"""

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
