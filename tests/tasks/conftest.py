"""Known answerers for tasks, and published data from a mirror."""

import os
from pathlib import Path

import pytest

MIRROR = Path(__file__).parents[2] / ".." / "shared" / "data"


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

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.delenv("SEATRIAL_MIRROR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
