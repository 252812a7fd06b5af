"""A hub that cannot be reached is one sentence."""

import pytest

from seatrial import errors
from seatrial.model.load.locate import locate
from seatrial.model.load.pull import pull


def quietly(line: str) -> None:
    """Say nothing."""


def test_offline_hub_is_one_sentence(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(
        errors.Unreachable, match=r"the hub did not give google/gemma-3-270m"
    ):
        pull("gemma3-270m", source="hub", cache=cache, say=quietly)
    with pytest.raises(
        errors.Unreachable, match=r"did not give nobody/nothing: .* Go online"
    ):
        locate("nobody/nothing")
