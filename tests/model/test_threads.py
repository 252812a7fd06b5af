"""Calls patch the live network, so those of several threads wait for each other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED
from seatrial.types import Request, Site, Text

REQUESTS = [
    Request("a", "a", "I would rather walk to", (" the station", " yes")),
    Request("b", "b", "Question: what does the sea look like? Answer:", (" calm", " no")),
]
TEXTS = [Text("The sea", " is calm."), Text("The answer", " is no.")]


@pytest.fixture
def calls(tiny, push):
    """Calls of every kind that hangs hooks into a network."""
    model = tiny("llama")
    unders = [[UNSTEERED, push(model, layer, seed=layer)] for layer in (0, 1, 2)]
    return [
        *(lambda u=u: model.log_probs(REQUESTS, u, kl=True) for u in unders),
        *(lambda u=u: model.generate(["The sea"], u, max_tokens=5) for u in unders),
        *(
            lambda k=k: model.activations(TEXTS, [Site(k)], "last")[Site(k)].tolist()
            for k in (0, 1)
        ),
    ]


def test_concurrent_calls_equal_sequential_ones(calls):
    expected = [call() for call in calls]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda call: call(), calls * 3))

    assert results == expected * 3


def test_two_models_around_one_network_wait_for_each_other(tiny):
    model = tiny("llama")
    twin = Model(model.engine.network, model.encoder.tokenizer, model.card)

    assert twin.lock is model.lock
    assert tiny("gpt2").lock is not model.lock


def test_a_call_waits_for_whoever_holds_the_lock(tiny):
    model, done = tiny("llama"), threading.Event()
    thread = threading.Thread(target=lambda: (model.log_probs(REQUESTS), done.set()))

    with model.lock:
        thread.start()
        assert not done.wait(0.2)
    thread.join()

    assert done.is_set()


def test_a_session_is_of_the_thread_that_opened_it(tiny):
    model = tiny("llama")

    with model.session(), ThreadPoolExecutor(1) as pool:
        model.log_probs(REQUESTS)
        assert model.engine._sessions.passes
        assert pool.submit(lambda: model.engine._sessions.passes).result() is None


def test_a_session_inside_another_ends_alone(tiny):
    model = tiny("llama")

    with model.session():
        model.log_probs(REQUESTS)
        outer = model.engine._sessions.passes
        with model.session(passes=False):
            assert model.engine._sessions.passes is None
        assert model.engine._sessions.passes is outer
