"""A model whose blocks live in several places answers as one that lives in one."""

import copy

import pytest
import torch
from accelerate import dispatch_model
from accelerate.hooks import remove_hook_from_submodules

from seatrial.errors import BadOption
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED
from seatrial.testing import tiny_model
from seatrial.types import Request, Text

REQUESTS = [
    Request("a", "a", "I would rather walk to", (" the station", " yes")),
    Request("b", "b", "The answer is", (" yes, and no", " calm")),
]


@pytest.fixture
def scattered(tmp_path):
    """A tiny model whose middle block is fetched from disk whenever it runs."""
    source = tiny_model("llama")
    network = copy.deepcopy(source.engine.network)
    places = {name: "cpu" for name, _ in network.named_children() if name != "model"}
    places |= {f"model.{name}": "cpu" for name, _ in network.model.named_children()}
    del places["model.layers"]
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "cpu"}
    dispatch_model(network, places, main_device="cpu", offload_dir=tmp_path)
    yield Model(network, source.encoder.tokenizer, source.card)
    remove_hook_from_submodules(network)


def test_scattered_blocks_give_the_same_answers(scattered, push):
    whole = tiny_model("llama")
    under = [
        UNSTEERED,
        push(whole, 0),
        push(whole, 1, tokens="last"),
        push(whole, 2, "mlp"),
    ]
    assert scattered.structure.blocks[1].module.__dict__["forward"]  # accelerate is at work

    for mine, theirs in zip(
        scattered.log_probs(REQUESTS, under), whole.log_probs(REQUESTS, under), strict=True
    ):
        for one, other in zip(mine, theirs, strict=True):
            for a, b in zip(one.log_probs, other.log_probs, strict=True):
                assert a == pytest.approx(b, abs=1e-5)


def test_scattered_blocks_generate_and_are_read_the_same(scattered, push):
    whole = tiny_model("llama")
    under = [UNSTEERED, push(whole, 1, tokens="generated")]
    texts = [Text("The answer is", " yes"), Text("A", " calm and blue sea")]
    sites = [whole.site(layer) for layer in range(3)]

    mine, theirs = (
        m.generate(["The answer"], under, max_tokens=5) for m in (scattered, whole)
    )
    read, wanted = (m.activations(texts, sites, "last") for m in (scattered, whole))

    assert [[c.token_ids for c in line] for line in mine] == [
        [c.token_ids for c in line] for line in theirs
    ]
    for site in sites:
        torch.testing.assert_close(read[site], wanted[site])


def test_accelerate_stays_at_work_after_an_answer(scattered, push):
    forwards = [
        block.module.__dict__.get("forward") for block in scattered.structure.blocks
    ]

    scattered.log_probs(REQUESTS, [push(scattered, 1)])

    after = [block.module.__dict__.get("forward") for block in scattered.structure.blocks]
    assert after == forwards


def test_a_folder_can_be_spread_over_what_there_is(tmp_path):
    source = tiny_model("llama")
    source.engine.network.save_pretrained(tmp_path)
    source.encoder.tokenizer.save_pretrained(tmp_path)

    spread = Model.load(str(tmp_path), device="balanced", dtype="float32")

    one, other = (m.log_probs(REQUESTS)[0] for m in (spread, source))
    for a, b in zip(one, other, strict=True):
        assert a.sums == pytest.approx(b.sums, abs=1e-4)


def test_a_gguf_file_is_not_spread(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")

    with pytest.raises(BadOption, match="a GGUF file goes to one device"):
        Model.load(str(file), device="balanced")
