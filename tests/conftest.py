"""What holds for every test: offline, and `seatrial` imported after jaxtyping's hook.

The hook of `--jaxtyping-packages` checks shapes only in modules that are imported after it,
so this file imports `seatrial` inside fixtures and nowhere else.
"""

import functools
import os
from importlib import import_module
from pathlib import Path

# huggingface_hub and tokenizers read these once, when they are first imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the network tests are run with 0
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else every fork prints a warning

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; the timeout guards us.
settings.register_profile("seatrial", deadline=None)
settings.load_profile("seatrial")


MIRROR = Path(__file__).parents[1] / ".." / "shared" / "data"


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


@pytest.fixture
def scores_of():
    """Scores of an answerer: ``scores_of(task, log_prob)``.

    ``log_prob(request, answer)`` is the log-probability of each token, of which every word
    of the answer is one; ``kl`` is that of each token.
    """
    from seatrial.types import Answer

    def score(task, log_prob, split="test", kl=None):
        requests = task.requests(split)
        answers = []
        for request in requests:
            lines = tuple(
                (log_prob(request, text),) * max(1, len(text.split()))
                for text in request.answers
            )
            kls = None if kl is None else tuple((kl,) * len(line) for line in lines)
            answers.append(Answer(lines, kls))
        return task.score(requests, answers)

    return score


@pytest.fixture
def mean_of():
    """Mean of a metric over the scores that have it: ``mean_of(scores, "bias")``."""

    def mean(scores, metric):
        values = [score.metrics[metric] for score in scores if metric in score.metrics]
        return sum(values) / len(values)

    return mean


@pytest.fixture(scope="session")
def _cache(tmp_path_factory):
    """One cache for all tests, so that each file is checked and copied once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def published(monkeypatch, _cache):
    """Published data sets load from a mirror, or the test is skipped."""
    folder = Path(os.environ.get("SEATRIAL_MIRROR") or MIRROR)
    if not (folder / "github").is_dir():
        pytest.skip(f"no mirror at {folder}; name one with SEATRIAL_MIRROR")
    monkeypatch.setenv("SEATRIAL_MIRROR", str(folder.resolve()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(_cache))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Nothing is in the cache, there is no mirror, and the network is down."""

    import httpx2

    from seatrial.web import Patience

    def refuse(_, request):
        raise httpx2.ConnectError("no network", request=request)

    fetching = import_module("seatrial.data.sources.fetch")  # not the function of that name
    monkeypatch.setattr(fetching, "PATIENCE", Patience(first_wait=0.0))
    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", refuse)
    monkeypatch.delenv("SEATRIAL_MIRROR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
