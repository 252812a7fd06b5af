"""Memory that runs out costs time and never a number."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import OutOfMemory
from seatrial.model import MemoryBudget, Model
from seatrial.model.engine.budget import CALM, Meter, is_out_of_memory
from seatrial.model.tokens import Encoded
from seatrial.steering.intervention import UNSTEERED, Intervention, PromptEdit, Steering
from seatrial.store import Store
from seatrial.studies.run import run
from seatrial.studies.study import read_study
from seatrial.testing import tiny_model
from seatrial.testing.planted import planted_concept, planted_model
from seatrial.types import Request, Site, Text

KINDS = pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "lfm2"])
ON_CPU = (
    "[enforce fail at alloc_cpu.cpp:119] data. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    "cpu": lambda: RuntimeError(ON_CPU),
    "python": MemoryError,
}
EVERY_ERROR = pytest.mark.parametrize("error", ERRORS)
SINGLE = (
    "^memory ran out over a single sequence; use shorter texts, a smaller model, half "
    "precision, or a machine with more memory$"
)
OPENING = "Question: what does the sea look like today, and would you wait? "
REQUESTS = [
    Request(str(k), str(k), prompt, answers)
    for k, (prompt, answers) in enumerate(
        [
            ("I would rather walk to", (" the station", " yes", " no")),
            ("The answer is", (" yes", " yes, and the answer is no")),
            ("", (" the", " the sea", " a")),
            ("Question: what is calm, clear and blue? Answer:", (" calm", " rough and")),
            ("A or B? Answer:", (" (A)", " (B)")),
        ]
    )
]
ALIKE = [
    Request(str(k), str(k), OPENING + ending, (" yes, and no", " calm"))
    for k, ending in enumerate(["Answer:", "I would. Answer:", "No answer is", "It is"])
]
SEA = PromptEdit("Praise the sea.", "Never praise the sea.")


def steerings(push, model):
    """Of all kinds: unsteered, early and late scopes, several doses, another prompt."""
    late = [push(model, 1, tokens="last", dose=dose) for dose in (-1.0, 0.5, 1.0, 2.0)]
    return [
        UNSTEERED,
        *(push(model, layer) for layer in (0, 1)),
        *late,
        push(model, 1, "mlp", tokens="from_last_prompt"),
        Steering(Intervention(prompt_edit=SEA)),
        Steering(Intervention(push(model, 1).intervention.edits, "last", SEA), 1.0),
    ]


class Machine:
    """A model on a machine whose memory is small, and that counts what it did.

    A forward call over more than ``limit`` tokens fails, and so does any other that could
    be split, with probability ``bad_luck``; at its start, in one of its blocks, or at its
    very end.
    """

    def __init__(self, model, limit, error="cpu", bad_luck=0.0, seed=0):
        self.model, self.limit, self.error = model, limit, ERRORS[error]
        self.chance, self.bad_luck = random.Random(seed), bad_luck
        self.failures, self.finished = 0, []
        self.largest = 0
        forward = model.engine.forward
        self._run, self._logits = forward.run, forward.logits
        forward.run, forward.logits = self.run, self.logits

    def run(self, grove, start=None, segments=(), **options):
        steered = len(start.frontiers) if start else 1
        tokens = steered * grove.width
        cells = steered * len(grove.trees)
        result = self._call(
            tokens, cells, lambda: self._run(grove, start, segments, **options)
        )
        self.finished.append((steered, grove))
        return result

    def logits(self, ids, mask, positions, cache):
        result = self._call(
            ids.shape[0] * mask.shape[1],
            ids.shape[0],
            lambda: self._logits(ids, mask, positions, cache),
        )
        self.finished.append((ids.shape[0], None))
        return result

    def _call(self, tokens, cells, work):
        fails = tokens > self.limit
        if not fails and cells > 1:
            fails = self.chance.random() < self.bad_luck
        moment = self.chance.choice(["start", "block", "end"])
        self.failures += fails
        if not fails:
            self.largest = max(self.largest, tokens)
            return work()
        if moment == "start":
            raise self.error()
        if moment == "end":
            work()
            raise self.error()

        def fail(*_):
            raise self.error()

        blocks = self.model.structure.blocks
        handle = self.chance.choice(blocks).module.register_forward_hook(fail)
        try:
            work()
        finally:
            handle.remove()
        raise self.error()  # the chosen block was not part of the call

    @property
    def nodes(self):
        """How many nodes were read under how many steerings, in calls that succeeded."""
        return sum(steered * grove.width for steered, grove in self.finished)


def numbers(lines, of="log_probs"):
    return torch.tensor(
        [x for line in lines for a in line for part in getattr(a, of) for x in part]
    )


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        *((make(), True) for make in ERRORS.values()),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_memory_errors_are_told_from_others(error, is_memory):
    assert is_out_of_memory(error) == is_memory


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    limit=st.integers(1, 20),
    bad_luck=st.floats(0, 0.6),
    seed=st.integers(0, 999),
)
def test_everything_is_done_once_whatever_fails(rows, columns, limit, bad_luck, seed):
    chance, done = random.Random(seed), []

    def work(some_rows, some_columns):
        cells = [(row, column) for row in some_rows for column in some_columns]
        if len(cells) > limit or (len(cells) > 1 and chance.random() < bad_luck):
            raise MemoryError
        done.extend(cells)

    Meter(64).attempt(work, range(rows), range(columns), rows * columns)

    assert sorted(done) == [(r, c) for r in range(rows) for c in range(columns)]


@EVERY_ERROR
def test_half_of_what_failed_is_the_limit_when_memory_runs_out(error):
    meter, sizes = Meter(64), []

    def work(rows, columns):
        sizes.append(len(rows) * len(columns))
        if sizes[-1] > 8:
            raise ERRORS[error]()

    meter.attempt(work, range(8), range(2), size=48)

    assert (sizes, meter.tokens) == ([16, 8, 8], 24)


def test_the_limit_never_falls_below_one_token():
    meter = Meter(2)

    def work(rows, _):
        if len(rows) > 1:
            raise MemoryError

    meter.attempt(work, range(64), [0], size=64)

    assert meter.tokens == 1


def test_a_limit_that_is_lower_already_is_kept():
    """Work that was planned before memory ran out must not count as another shortage."""
    meter = Meter(64)

    def work(rows, _):
        if len(rows) > 10:
            raise MemoryError

    for _ in range(9):
        meter.attempt(work, range(16), [0], size=64)

    assert meter.tokens == 32


@EVERY_ERROR
def test_a_single_sequence_that_does_not_fit_is_one_sentence(error):
    def work(*_):
        raise ERRORS[error]()

    with pytest.raises(OutOfMemory, match=SINGLE) as caught:
        Meter(64).attempt(work, range(4), range(3), 12)

    assert is_out_of_memory(caught.value.__cause__)


@pytest.mark.parametrize("error", [RuntimeError("shapes"), ValueError("x"), KeyError("k")])
def test_other_errors_pass_unchanged(error):
    meter, calls = Meter(64), []

    def work(*_):
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        meter.attempt(work, range(4), range(3), 12)

    assert caught.value is error
    assert (len(calls), meter.tokens) == (1, 64)


@pytest.mark.parametrize(
    ("family", "error"),
    [("llama", "cuda"), ("gemma3", "cpu"), ("bloom", "python"), ("lfm2", "cpu")],
)
def test_answers_are_the_same_when_memory_runs_out(push, family, error):
    model, tight = tiny_model(family), tiny_model(family)
    under = steerings(push, model)
    expected = model.log_probs(REQUESTS, under, kl=True)
    machine = Machine(tight, limit=100, error=error, bad_luck=0.3)

    answers = tight.log_probs(REQUESTS, under, kl=True)

    assert machine.failures > 1
    for of in ("log_probs", "kl"):
        torch.testing.assert_close(
            numbers(answers, of), numbers(expected, of), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("family", ["llama", "bloom"])
@pytest.mark.parametrize("seed", range(3))
def test_answers_are_the_same_at_whatever_moment_memory_runs_out(push, family, seed):
    model, tight = tiny_model(family), tiny_model(family)
    requests = ALIKE if seed % 2 else REQUESTS
    under = steerings(push, model)
    expected = model.log_probs(requests, under)
    machine = Machine(tight, limit=90, bad_luck=0.5, seed=seed)

    answers = tight.log_probs(requests, under)

    assert machine.failures > 0
    torch.testing.assert_close(numbers(answers), numbers(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_finished_work_is_not_done_again(push, family):
    """Without padding, calls that succeed read the same tokens however they are cut."""
    roomy, tight = tiny_model(family), tiny_model(family)
    under = steerings(push, roomy)
    whole = Machine(roomy, limit=10**9)
    machine = Machine(tight, limit=60, bad_luck=0.4)

    roomy.log_probs(REQUESTS, under)
    tight.log_probs(REQUESTS, under)

    assert whole.failures == 0
    assert machine.failures > 1
    assert machine.nodes == whole.nodes
    assert len(machine.finished) > len(whole.finished)


def test_no_call_is_larger_than_what_was_found_to_fit(push):
    model = tiny_model("llama", budget=MemoryBudget(tokens=256))
    machine = Machine(model, limit=80)
    under = [push(model, layer, dose=d) for layer in (0, 1) for d in (-1.0, 1.0, 2.0)]

    model.log_probs(REQUESTS, under)
    before = machine.failures
    model.log_probs(REQUESTS, under)

    assert before > 0
    assert machine.failures == before
    assert machine.largest <= 80


def test_the_limit_settles_near_what_fits(push):
    """One shortage must not be taken for many: work planned before it is planned anew."""
    model = tiny_model("llama", budget=MemoryBudget(tokens=64))
    machine = Machine(model, limit=50)
    requests = [
        Request(str(k), str(k), request.prompt, request.answers)
        for k, request in enumerate(REQUESTS * 6)
    ]

    model.log_probs(requests, [push(model, 1), push(model, 1, tokens="last")])

    assert machine.failures > 0
    assert model.engine.meter.tokens >= 16


def test_the_limit_settles_near_what_fits_in_decoding(push):
    model = tiny_model("llama", budget=MemoryBudget(tokens=64))
    Machine(model, limit=256)  # half of what a batch of decoding would take
    prompts = [" the sea" * k for k in range(1, 30)]

    model.generate(prompts, [UNSTEERED, push(model, 1)], max_tokens=2)

    assert model.engine.meter.tokens >= 8


@EVERY_ERROR
def test_a_request_that_does_not_fit_is_one_sentence(push, error):
    model = tiny_model("llama")
    expected = model.log_probs(REQUESTS)
    machine = Machine(model, limit=5, error=error)

    with pytest.raises(OutOfMemory, match=SINGLE):
        model.log_probs(REQUESTS, [push(model, 1)])
    with pytest.raises(OutOfMemory, match=SINGLE):
        model.generate([REQUESTS[0].prompt], max_tokens=2)
    with pytest.raises(OutOfMemory, match=SINGLE):
        model.activations([Text("I would rather walk to", " the")], [Site(1)], "last")

    machine.limit = 10**9
    torch.testing.assert_close(
        numbers(model.log_probs(REQUESTS)), numbers(expected), atol=1e-5, rtol=0
    )


def test_a_common_start_that_does_not_fit_is_one_sentence(push):
    model = tiny_model("llama")
    Machine(model, limit=5)

    with pytest.raises(OutOfMemory, match=SINGLE):
        model.log_probs(ALIKE, [push(model, 1)])


@pytest.mark.parametrize("where", ["run", "logits"])
def test_other_errors_of_a_forward_call_pass_unchanged(push, where):
    model = tiny_model("llama")
    error = RuntimeError("shapes cannot be multiplied")

    def broken(*_, **__):
        raise error

    setattr(model.engine.forward, where, broken)
    with pytest.raises(RuntimeError) as caught:
        if where == "run":
            model.log_probs(REQUESTS, [push(model, 1)])
        else:
            model.generate(["The answer is"])

    assert caught.value is error
    assert model.engine.meter.tokens == 1024


@KINDS
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_texts_are_the_same_when_memory_runs_out(push, family, temperature):
    model, tight = tiny_model(family), tiny_model(family)
    under = [UNSTEERED, push(model, 1), push(model, 1, tokens="last", seed=2)]
    prompts = [request.prompt for request in REQUESTS]
    options = {"max_tokens": 6, "temperature": temperature, "seed": 3}
    expected = model.generate(prompts, under, **options)
    machine = Machine(tight, limit=45, bad_luck=0.02)

    texts = tight.generate(prompts, under, **options)

    assert machine.failures > 0
    for line, wanted in zip(texts, expected, strict=True):
        for one, other in zip(line, wanted, strict=True):
            assert (one.text, one.token_ids, one.finish) == (
                other.text,
                other.token_ids,
                other.finish,
            )
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)


TEXTS = [
    Text("I would rather walk to", " the station"),
    Text("The answer is", " yes"),
    Text("Question: what is calm, clear and blue? Answer:", " the sea"),
    Text("", " no"),
    Text("A or B?", " rough and grey"),
]


@KINDS
def test_activations_are_the_same_when_memory_runs_out(family):
    model, tight = tiny_model(family), tiny_model(family)
    sites = [Site(layer) for layer in range(3)]
    expected = model.activations(TEXTS, sites, "mean")
    machine = Machine(tight, limit=40, bad_luck=0.5)

    found = tight.activations(TEXTS, sites, "mean")

    assert machine.failures > 0
    for site in sites:
        torch.testing.assert_close(found[site], expected[site], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llama", "bloom"])
@pytest.mark.parametrize("at", ["last", "all"])
def test_moments_count_every_activation_once_when_memory_runs_out(family, at):
    """A forward call can break after some of its blocks were read already."""
    model, tight = tiny_model(family), tiny_model(family)
    sites = [Site(layer) for layer in range(3)]
    expected = model.moments(TEXTS, sites, at)
    machine = Machine(tight, limit=40, bad_luck=0.5)

    found = tight.moments(TEXTS, sites, at)

    assert machine.failures > 0
    for site in sites:
        assert found[site].n == expected[site].n
        torch.testing.assert_close(
            found[site].covariance, expected[site].covariance, atol=1e-5, rtol=1e-4
        )


def test_a_limit_on_cpu_suits_its_caches_and_can_be_set():
    assert MemoryBudget().tokens_on(torch.device("cpu")) == 1024
    assert MemoryBudget(tokens=7).tokens_on(torch.device("cpu")) == 7


def test_a_study_that_ran_out_of_memory_ends_with_equal_numbers(tmp_path, monkeypatch):
    planted_concept(tmp_path / "planted.jsonl", groups=12)
    study = read_study(
        {
            "models": ["tiny"],
            "behaviours": {
                "planted": {
                    "source": str(tmp_path / "planted.jsonl"),
                    "targets": {"open": {"limit": 8}},
                }
            },
            "methods": {"caa": {"read": "completion", "layer": 0}},
            "doses": [-1, 1],
            "controls": {"random": 3, "shuffled": 2},
            "limit": {"select": 8},
            "guards": {"prose": {"limit": {"select": 2, "test": 2}}},
        }
    )
    model, tight = planted_model()[0], planted_model()[0]
    machine = Machine(tight, limit=60, bad_luck=0.3)

    for name, each in (("calm", model), ("storm", tight)):
        monkeypatch.setattr(Model, "load", lambda *_, each=each, **__: each)
        run(study, Store(tmp_path / name))

    assert machine.failures > 3
    keys = ["cell", "label", "control", "draw", "phase", "target", "item", "metric"]
    calm, storm = (
        Store(tmp_path / name).scan().drop("run").collect().sort(keys)
        for name in ("calm", "storm")
    )
    assert calm.drop("value").equals(storm.drop("value"))
    assert calm.height > 100
    worst = (calm["value"] - storm["value"]).abs().max()
    assert worst < 1e-6


def test_the_tokens_of_a_request_are_what_the_limit_counts():
    """So that a limit below a prompt and its answers still lets them through alone."""
    text = Encoded((1, 2, 3, 4, 5), 3)
    model = tiny_model("llama", budget=MemoryBudget(tokens=1))

    assert len(text.ids) > model.engine.meter.tokens
    assert numbers([model.log_probs(REQUESTS)[0]]).isfinite().all()


def test_a_limit_that_was_lowered_by_bad_luck_rises_again():
    meter, failures = Meter(1024), iter([True, True])

    def work(rows, columns):
        if next(failures, False):
            raise MemoryError

    meter.attempt(work, range(8), [0], 1024)
    assert meter.tokens == 256
    for _ in range(3 * CALM):
        meter.attempt(work, range(8), [0], meter.tokens // 4)
    assert meter.tokens == 256  # small calls prove nothing
    for _ in range(CALM):
        meter.attempt(work, range(8), [0], meter.tokens)
    assert meter.tokens == 512
    for _ in range(3 * CALM):
        meter.attempt(work, range(8), [0], meter.tokens)
    assert meter.tokens == 1024


def test_a_limit_that_is_right_is_tried_seldom():
    meter, tried = Meter(128), []

    def work(rows, columns):
        tried.append(len(rows))
        if len(rows) > 100:
            raise MemoryError

    for _ in range(10 * CALM):
        meter.attempt(work, range(meter.tokens), [0], meter.tokens)
    assert sum(n > 100 for n in tried) / len(tried) < 1 / 32
    assert meter.tokens in (64, 128)
