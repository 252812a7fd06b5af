"""The small random Llama that needs no download."""

import hashlib

import pytest
import torch

from seatrial.errors import BadOption
from seatrial.model import Model, describe_models
from seatrial.steering.intervention import UNSTEERED
from seatrial.testing import naive_log_probs
from seatrial.types import Message, Request

REQUEST = Request("a", "a", (Message("user", "Is the sea calm?"),), (" yes", " no"))


@pytest.fixture(scope="module")
def made():
    return Model.load("tiny", device="cpu")


def test_it_is_the_same_everywhere(made):
    vocabulary = sorted(made.encoder.tokenizer.get_vocab().items())

    assert made.identity == "tiny (made in memory, 7478eb79403d)"
    assert hashlib.sha256(repr(vocabulary).encode()).hexdigest()[:12] == "6cd36201ae6c"


def test_it_has_what_a_plan_may_ask_for(made):
    assert (made.n_layers, made.d_model, made.n_heads) == (6, 64, 24)
    assert made.is_chat
    assert not made.is_tied
    assert made.engine.network.config.max_position_embeddings == 4096
    assert made.dtype == "float32"


def test_its_answers_depend_on_the_question_and_differ(made):
    other = Request("b", "b", (Message("user", "Is it rough?"),), REQUEST.answers)

    [[one, two]] = made.log_probs([REQUEST, other])

    assert one.log_probs != two.log_probs
    assert len(set(one.log_probs)) == 2
    [[truth]] = naive_log_probs(made, [REQUEST], [UNSTEERED])
    for scores, expected in zip(one.log_probs, truth, strict=True):
        torch.testing.assert_close(torch.tensor(scores), expected, atol=1e-4, rtol=0)


def test_loading_it_leaves_the_random_numbers_of_the_user_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)

    torch.manual_seed(3)
    Model.load("tiny", device="cpu")

    assert torch.equal(torch.rand(2), expected)


def test_it_comes_in_half_precision_with_the_same_identity(made):
    half = Model.load("tiny", dtype="bfloat16", device="cpu")

    assert half.dtype == "bfloat16"
    assert half.identity == made.identity


def test_it_has_no_revisions():
    with pytest.raises(BadOption, match="revision 'main' means nothing for 'tiny'"):
        Model.load("tiny", revision="main")


def test_it_is_listed():
    assert "made in memory" in describe_models()["tiny"]
