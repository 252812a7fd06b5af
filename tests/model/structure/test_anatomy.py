"""What was found in a model stays as it was found."""

import dataclasses

import pytest


def test_records_of_the_anatomy_cannot_be_changed(tiny):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny("llama").structure.d_model = 3
