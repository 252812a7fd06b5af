"""A small plan on the random model ``tiny``, and what it measures."""

import copy

import pytest


@pytest.fixture(scope="session")
def concept(tmp_path_factory):
    """A concept of twelve topics as a file."""
    from seatrial.testing.planted import planted_concept

    return planted_concept(tmp_path_factory.mktemp("data") / "planted.jsonl", groups=12)


@pytest.fixture(scope="session")
def plan(concept):
    """Plain values of a plan with every phase, of which some are replaced by keys."""
    small = {
        "models": ["tiny"],
        "behaviours": {"planted": {"source": str(concept), "targets": {"open": "open"}}},
        "methods": {"caa": {"read": "completion", "choose": {"layer": [1, 2]}}},
        "doses": [-1, 1],
        "limit": {"fit": 12, "select": 8, "test": 8},
        "controls": {"random": 2, "shuffled": 1},
        "baselines": [],
        "guards": {"prose": {"limit": {"select": 2, "test": 2}}},
    }

    def make(**changes):
        return copy.deepcopy({**small, **changes})

    return make


@pytest.fixture
def measured(tmp_path):
    """Run a plan; its store and every record. Given a store, that one grows."""
    from seatrial.store.store import Store
    from seatrial.studies.run import run
    from seatrial.studies.study import read_study

    def make(plan, store=None, workers=None):
        records = []
        store = store or Store(tmp_path / "run")
        run(read_study(plan), store, workers, records.append)
        return store, records

    return make
