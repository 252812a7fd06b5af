"""What hooks see is the tensor of an output, however it is wrapped."""

import pytest
import torch

from seatrial.model.structure.outputs import first_tensor, with_first_tensor


@pytest.mark.parametrize(
    "wrap", [lambda h: h, lambda h: (h, None, "x"), lambda h: [h, None]]
)
def test_only_the_tensor_of_an_output_is_exchanged(wrap):
    old, new = torch.zeros(2), torch.ones(2)

    output = with_first_tensor(wrap(old), new)

    assert first_tensor(wrap(old)) is old
    assert first_tensor(output) is new
    assert type(output) is type(wrap(old))
    assert output is new or output[1:] == wrap(old)[1:]


@pytest.mark.parametrize("value", [(), [], None, "text", (None, torch.ones(1))])
def test_an_output_without_a_tensor_has_none(value):
    assert first_tensor(value) is None
