"""Published data comes from a mirror, into a cache of the test run, or is skipped."""

import functools
import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def mirror():
    """The root of a mirror with every published file."""
    folder = Path(os.environ.get("SEATRIAL_MIRROR") or DEFAULT)
    if not (folder / "github").is_dir():
        pytest.skip(f"no mirror at {folder}; name one with SEATRIAL_MIRROR")
    return folder.resolve()


@pytest.fixture(scope="session")
def load(mirror, tmp_path_factory):
    """Items by name of the data set, each loaded once: ``load("gsm8k")``."""
    from seatrial.data.sources import DATASETS

    cache = tmp_path_factory.mktemp("cache")
    return functools.cache(lambda name: DATASETS[name].load(mirror=mirror, cache=cache))
