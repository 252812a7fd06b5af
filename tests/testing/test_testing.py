"""Every method keeps every promise, and broken methods show that every promise bites."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from seatrial.data import load_concept
from seatrial.methods import (
    ACE,
    CAA,
    ITI,
    LEACE,
    METHODS,
    Ablate,
    Conceptor,
    Instruction,
    Logistic,
    MeanMatch,
    Method,
    MiMiC,
    Orthogonal,
    Random,
    RepE,
    Shuffled,
)
from seatrial.methods.fitting.contrast import contrast
from seatrial.model.engine.packing import Packing
from seatrial.steering.edits import EDITS, Add, Edit, along
from seatrial.steering.intervention import UNSTEERED, Intervention
from seatrial.testing import CHECKS, naive_greedy, tiny_model
from seatrial.types import FitData, Message, Pair, Request, Text

METHODS_CHECKED = {
    "ablate": Ablate(layer=1),
    "ace": ACE(layer=1),
    "caa": CAA(layer=1),
    "caa at the first layer, all tokens": CAA(layer="first", read="mean", tokens="all"),
    "caa at the last layer, generated tokens": CAA(layer="last", tokens="generated"),
    "conceptor": Conceptor(layer=1),
    "iti": ITI(),
    "leace": LEACE(layer=1),
    "logistic": Logistic(layer=1),
    "mean-match": MeanMatch(layer=1),
    "mimic": MiMiC(layer=1),
    "orthogonal": Orthogonal(CAA(layer=1)),
    "instruction": Instruction(),
    "random": Random(CAA(layer=1)),
    "repe": RepE(layer=1),
    "shuffled": Shuffled(CAA(layer=1)),
    "shuffled at its own length": Shuffled(CAA(layer=1), rescale=False),
}


def texts(prompt, positive, negative):
    return Text(prompt, positive), Text(prompt, negative)


PAIRS = [
    texts("The sea", " is calm and clear.", " is rough."),
    texts("Today I", " walk slowly to the shore.", " run away, as ever I did."),
    texts((Message("user", "Would you wait?"),), "Yes, I would.", "No."),
    texts("It is what", " I like.", " I hate."),
]


def example_data():
    pairs = tuple(Pair(f"p{k}", f"g{k}", *sides) for k, sides in enumerate(PAIRS))
    return FitData("calm", pairs, "You are calm.", "You are wild.", "made by hand")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("method", METHODS_CHECKED)
def test_every_method_keeps_every_promise(tiny, method, check):
    CHECKS[check](METHODS_CHECKED[method], tiny("llama"), example_data())


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("method", ["caa", "instruction"])
@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_promises_hold_for_other_families_and_for_chat_models(tiny, family, method, check):
    CHECKS[check](
        METHODS_CHECKED[method],
        tiny(family, chat=True, bos=family != "gpt2"),
        example_data(),
    )


CHECKED_ELSEWHERE = {
    "actadd", "angular", "cast", "dola", "few-shot", "function-vector", "icv",
    "k-steering", "layer-mean", "length", "other-task", "spherical", "task-vector",
}  # fmt: skip
"""Methods whose own test file goes through all promises."""


def test_every_method_in_the_table_is_checked():
    here = {method.name for method in METHODS_CHECKED.values()}

    assert here | CHECKED_ELSEWHERE == set(METHODS)
    assert not here & CHECKED_ELSEWHERE


def test_every_check_says_its_promise():
    assert all(check.__doc__ and check.__doc__.count(".") for check in CHECKS.values())


# From here on: methods and models that break one promise each.


@dataclass(frozen=True)
class Honest(Method):
    """CAA by hand, for broken methods to deviate from."""

    name: ClassVar[str] = "broken"
    summary: ClassVar[str] = "breaks a promise"

    def vector(self, model, data):
        positive, negative = contrast(model, data.pairs, model.site(1), "last")
        return positive.mean(0) - negative.mean(0)

    def fit(self, model, data, *, seed):
        return self.with_edit(model, Add(self.vector(model, data)))

    def with_edit(self, model, edit, tokens="all"):
        return Intervention({model.site(1): edit}, tokens)


@dataclass(frozen=True)
class MovesWeights(Honest):
    def fit(self, model, data, *, seed):
        with torch.no_grad():
            model.engine.network.lm_head.weight[0, 0] += 1e-3
        return super().fit(model, data, seed=seed)


@dataclass(frozen=True)
class LeavesHook(Honest):
    def fit(self, model, data, *, seed):
        model.structure.blocks[0].module.register_forward_hook(lambda *_: None)
        return super().fit(model, data, seed=seed)


@dataclass(frozen=True)
class LeavesForward(Honest):
    def fit(self, model, data, *, seed):
        block = model.structure.blocks[0].module
        block.forward = block.forward
        return super().fit(model, data, seed=seed)


@dataclass(frozen=True)
class LeavesTrainingMode(Honest):
    def fit(self, model, data, *, seed):
        model.engine.network.train()
        return super().fit(model, data, seed=seed)


@dataclass(frozen=True)
class LeavesHookWhenAsked(Honest):
    def fit(self, model, data, *, seed):
        @dataclass(frozen=True, eq=False)
        class Clinging(PlainAdd):
            def change(self, h, dose):
                model.structure.blocks[0].module.register_forward_hook(lambda *_: None)
                return super().change(h, dose)

        return self.with_edit(model, Clinging(self.vector(model, data)))


@dataclass(frozen=True)
class UsesGlobalRandomness(Honest):
    def vector(self, model, data):
        return torch.randn(model.d_model)


@dataclass(frozen=True, eq=False)
class PlainAdd(Edit):
    """``Add`` by hand: an edit of a kind that is not in the table."""

    vector: Any

    def __call__(self, h, dose):
        return self.change(h, dose)

    def change(self, h, dose):
        return along(h, self.vector.to(h), dose)

    def turned(self, draw):
        return replace(self, vector=draw.vector(self.vector))

    @property
    def width(self):
        return self.vector.shape[0]


@dataclass(frozen=True)
class WithEdit(Honest):
    """A method with a broken edit."""

    edit: Any = None
    tokens: str = "all"
    size: float = 1.0

    def fit(self, model, data, *, seed):
        return self.with_edit(
            model, self.edit(self.size * self.vector(model, data)), self.tokens
        )


class NotQuiteZero(PlainAdd):
    def change(self, h, dose):
        strength = torch.as_tensor(dose, dtype=h.dtype).expand(h.shape[:-1])
        return h + (strength + 0.01)[..., None] * self.vector


class ZeroRestsOnTheRest(PlainAdd):
    """Dose 0 is the identity unless another position has a larger one."""

    def change(self, h, dose):
        return along(h, self.vector.to(h), float(torch.as_tensor(dose).max()))


class RoundsAtZero(PlainAdd):
    """``-0.0 + 0.0 * v`` and the like: equal to look at, not in its bits."""

    def change(self, h, dose):
        strength = torch.as_tensor(dose, dtype=h.dtype).expand(h.shape[:-1])[..., None]
        return (h + 1e3) - 1e3 + strength * self.vector.to(h)


@dataclass(frozen=True)
class DoesNothing(Honest):
    def fit(self, model, data, *, seed):
        return Intervention()


@dataclass(frozen=True)
class AddsZero(Honest):
    def vector(self, model, data):
        return torch.zeros(model.d_model)


@dataclass(frozen=True)
class Overflows(Honest):
    def vector(self, model, data):
        return torch.full((model.d_model,), torch.inf)


@dataclass(frozen=True)
class PatchesTheClass(Honest):
    """Puts the vector into the code that all models of a family share."""

    patch: Any = None

    def fit(self, model, data, *, seed):
        vector, forward = self.vector(model, data), LlamaDecoderLayer.forward

        def steered(block, *args, **kwargs):
            return forward(block, *args, **kwargs) + vector

        fitted = self.with_edit(model, Add(vector))
        self.patch(LlamaDecoderLayer, "forward", steered)
        return fitted


@dataclass(frozen=True)
class StaysBehind(Honest):
    """A hook that goes on steering after the question."""

    def fit(self, model, data, *, seed):
        vector = self.vector(model, data)
        model.structure.blocks[1].module.register_forward_hook(lambda _, __, h: h + vector)
        return self.with_edit(model, Add(vector))


class LooksAtNeighbours(PlainAdd):
    def change(self, h, dose):
        return along(h, self.vector.to(h) + h.reshape(-1, self.width).mean(0), dose)


@dataclass(frozen=True)
class FitsByBatch(Honest):
    """The vector depends on how many texts fit into one forward call."""

    def vector(self, model, data):
        return super().vector(model, data) * (1 + 1 / model.engine.meter.tokens)


@dataclass(frozen=True, eq=False)
class HasASecret(PlainAdd):
    """In the table of kinds, but what it does is not all in its fields."""

    def __post_init__(self):
        object.__setattr__(self, "exact", self.vector)
        object.__setattr__(self, "vector", self.vector.round(decimals=1))

    def change(self, h, dose):
        return along(h, self.exact.to(h), dose)


@dataclass(frozen=True, eq=False)
class RoundsWhenBuilt(PlainAdd):
    """Every building of it, and so every loading, shifts its field."""

    def __post_init__(self):
        object.__setattr__(self, "vector", self.vector * 1.01)


class IsAlwaysFloat32(PlainAdd):
    def change(self, h, dose):
        return along(h.float(), self.vector, dose)


@dataclass(frozen=True)
class NeedsFloat32(Honest):
    def vector(self, model, data):
        embedding = model.engine.network.get_input_embeddings().weight
        return torch.linalg.svd(embedding, full_matrices=False).Vh[0]


@dataclass(frozen=True)
class InfiniteInHalf(Honest):
    def vector(self, model, data):
        return super().vector(model, data) / (model.dtype == "float32")


@dataclass(frozen=True)
class ReadsOtherItems(Honest):
    """Has a look at items that may be in the select or test split."""

    verb: str = "activations"

    def fit(self, model, data, *, seed):
        item = load_concept("formality").items[0]
        match self.verb:
            case "activations":
                model.activations(
                    [Text(item.prompt, item.matching_text)], [model.site(1)], "last"
                )
            case "log_probs":
                asked = Request(
                    item.id, item.group, data.pairs[0].positive.prompt, (item.other_text,)
                )
                model.log_probs([asked])
            case "generate":
                model.generate([(Message("user", item.statement),)], max_tokens=1)
        return super().fit(model, data, seed=seed)


@dataclass(frozen=True)
class SignIsArbitrary(Honest):
    """A direction without a side, as a principal component is (trap T13)."""

    is_odd: ClassVar[bool] = True

    def vector(self, model, data):
        v = super().vector(model, data)
        return v * v[v.abs().argmax()].sign()


class DividesByLength(PlainAdd):
    """As strong as the forward call is short, so stronger with a cache (trap T26)."""

    def change(self, h, dose):
        return along(h, self.vector.to(h) / h[..., 0].numel(), dose)


BROKEN = {
    "fit leaves the model alone": [
        (MovesWeights(), "fitting changed the model: weights lm_head.weight"),
        (LeavesHook(), "fitting changed the model: hooks of model.layers.0"),
        (LeavesForward(), "fitting changed the model: forward of model.layers.0"),
        (LeavesTrainingMode(), "fitting changed the model: mode of the network"),
        (
            LeavesHookWhenAsked(),
            "answering under the fitted steering changed the model: hooks",
        ),
    ],
    "same seed, same result": [
        (UsesGlobalRandomness(), "two fits of 'broken' with seed 0 differ"),
        (Random(UsesGlobalRandomness()), "two fits of 'random' with seed 0 differ"),
    ],
    "dose 0 is the unsteered model": [
        (WithEdit(edit=NotQuiteZero), r"the edit at site 1\.resid changes h at dose 0"),
        (WithEdit(edit=RoundsAtZero), r"the edit at site 1\.resid changes h at dose 0"),
        (
            WithEdit(edit=ZeroRestsOnTheRest),
            "changes positions of dose 0 beside steered ones",
        ),
    ],
    "dose 1 changes something": [
        (DoesNothing(), "dose 1 of 'broken' changes no score at all"),
        (AddsZero(), "cannot be asked under what was fitted: .*changed nothing at all"),
        (Overflows(), "cannot be asked under what was fitted: .*not finite"),
    ],
    "steering one model leaves another alone": [
        (PatchesTheClass(), "'broken' on one model changed another one"),
        (StaysBehind(), "'broken' stayed behind in the unsteered model"),
    ],
    "batching and padding change nothing": [
        (WithEdit(edit=LooksAtNeighbours), "alone and in its batch differ by"),
        (WithEdit(edit=DividesByLength), "alone and in its batch differ by"),
        (FitsByBatch(), "fitted one by one and in batches differs by"),
    ],
    "saving and loading is exact": [
        (WithEdit(edit=PlainAdd), "cannot be saved and loaded: an edit of kind 'PlainAdd'"),
        (WithEdit(edit=HasASecret), "gives other answers once saved and loaded"),
        (WithEdit(edit=RoundsWhenBuilt), "is not the same once loaded"),
    ],
    "half precision works": [
        (WithEdit(edit=IsAlwaysFloat32), "turns torch.bfloat16 into torch.float32"),
        (NeedsFloat32(), "cannot be fitted on a bfloat16 model"),
        (InfiniteInHalf(), "cannot be asked under what was fitted: .*not finite"),
    ],
    "only the given pairs are read": [
        (ReadsOtherItems(verb=verb), "the model read .*, which is not in the data")
        for verb in ("activations", "log_probs", "generate")
    ],
    "swapped pairs flip the sign": [
        (SignIsArbitrary(), r"dose -1 differs from dose \+1 before by"),
    ],
    "cached generation equals recomputation": [
        (WithEdit(edit=DividesByLength, size=20.0), "cached generation gives"),
    ],
}


def test_every_promise_has_a_broken_method():
    assert set(BROKEN) == set(CHECKS)


@pytest.mark.parametrize(
    ("check", "method", "message"),
    [
        pytest.param(check, *case, id=f"{check}-{k}")
        for check, cases in BROKEN.items()
        for k, case in enumerate(cases)
    ],
)
def test_every_check_bites(monkeypatch, check, method, message):
    model = tiny_model("llama")  # not the shared one, which stays as it is
    if isinstance(method, PatchesTheClass):
        method = replace(method, patch=monkeypatch.setattr)
    monkeypatch.setitem(EDITS, "secret", HasASecret)
    monkeypatch.setitem(EDITS, "rounding", RoundsWhenBuilt)

    with pytest.raises(AssertionError, match=message):
        CHECKS[check](method, model, example_data())


@pytest.mark.parametrize("check", CHECKS)
def test_the_broken_methods_are_honest_but_for_what_breaks_them(check):
    CHECKS[check](Honest(), tiny_model("llama"), example_data())


def test_a_model_that_attends_to_padding_fails_the_check_of_batching(monkeypatch):
    masks = Packing.masks

    def careless(packing, visible, device):
        return masks(packing, visible, device)[0], None

    monkeypatch.setattr(Packing, "masks", careless)

    with pytest.raises(AssertionError, match="alone and in its batch differ by"):
        CHECKS["batching and padding change nothing"](
            CAA(layer=1), tiny_model("llama"), example_data()
        )


def test_a_model_that_misplaces_new_tokens_fails_the_check_of_generation(monkeypatch):
    model = tiny_model("llama")
    logits = model.engine.forward.logits

    def faulty(ids, mask, positions, cache):
        is_step = ids.shape[1] == 1 and mask.shape[1] > 1
        return logits(ids, mask, positions * (not is_step), cache)

    monkeypatch.setattr(model.engine.forward, "logits", faulty)

    with pytest.raises(AssertionError, match="cached generation gives"):
        CHECKS["cached generation equals recomputation"](
            CAA(layer=1), model, example_data()
        )


def test_a_method_with_few_doses_is_asked_at_no_other():
    @dataclass(frozen=True)
    class Doubling(Honest):
        doses: ClassVar[tuple[float, ...] | None] = (0.0, 2.0)
        asked: list = field(default_factory=list)

        def fit(self, model, data, *, seed):
            fitted, asked = super().fit(model, data, seed=seed), self.asked

            @dataclass(frozen=True, eq=False)
            class Watched(PlainAdd):
                def change(self, h, dose):
                    asked.extend(torch.as_tensor(dose).reshape(-1).tolist())
                    return super().change(h, dose)

            return self.with_edit(model, Watched(next(iter(fitted.edits.values())).vector))

    method = Doubling()

    for check in set(CHECKS) - {"same seed, same result", "saving and loading is exact"}:
        CHECKS[check](method, tiny_model("llama"), example_data())

    assert set(method.asked) == {0.0, 2.0}


def test_checks_leave_the_global_random_generators_alone(tiny):
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)

    CHECKS["same seed, same result"](
        UsesGlobalRandomnessNowhere(), tiny("llama"), example_data()
    )

    assert torch.equal(torch.randn(3), expected)


class UsesGlobalRandomnessNowhere(Honest):
    pass


def test_tiny_models_of_one_seed_are_equal_and_of_two_are_not():
    one, same, other = (tiny_model("llama", seed=seed) for seed in (3, 3, 4))

    assert one.identity == same.identity
    assert one.card.fingerprint != other.card.fingerprint


def test_naive_generation_is_the_networks_own(tiny):
    model = tiny("llama")
    ids = list(model.encoder.prompt_ids("The sea is"))

    whole = model.engine.network.generate(
        torch.tensor([ids]),
        do_sample=False,
        max_new_tokens=5,
        eos_token_id=-1,
        use_cache=False,
    )

    assert naive_greedy(model, ids, UNSTEERED, 5) == whole[0, len(ids) :].tolist()
