"""The shuffled control beyond one vector: chosen heads, maps, prompts, and examples."""

from dataclasses import replace

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import (
    CAA,
    CAST,
    ICV,
    ITI,
    LEACE,
    METHODS,
    Ablate,
    DoLa,
    FewShot,
    FunctionVector,
    Instruction,
    KSteering,
    LayerMean,
    Random,
    RepE,
    Shuffled,
    TaskVector,
)
from seatrial.methods.shuffled import shuffled
from seatrial.types import Example, FitData, Pair, Text

WORDS = ("sea calm", "train late", "walk slow", "day clear", "road rough", "sky grey")
EXAMPLES = tuple(Example(*word.split()) for word in WORDS)


# Small, because every method is fitted; controls get something to control.
SMALL = {
    "few-shot": FewShot(3),
    "function-vector": FunctionVector(shots=2, mean_prompts=4, effect_prompts=2),
    "iti": ITI(heads=2, folds=2),
    "k-steering": KSteering(hidden=8, epochs=5),
    "layer-mean": LayerMean(shots=2, mean_prompts=4),
    "task-vector": TaskVector(shots=2),
}
EVERY = {
    name: kind(CAA(layer=1)) if kind.is_control else SMALL.get(name, kind())
    for name, kind in METHODS.items()
}
EVERY |= {
    "cast on means": CAST(direction="mean"),
    "icv on pca": ICV(direction="pca"),
    "icv on means": ICV(direction="mean"),
}
NO_LABELS = {name for name, method in EVERY.items() if not method.reads_labels}


def has_other_directions(one, other):
    """Whether two fits differ by more than lengths and one common sign."""
    if one.prompt_edit != other.prompt_edit:
        sides = [set(edit.positive) for edit in (one.prompt_edit, other.prompt_edit)]
        return sides[0] not in (sides[1], set(other.prompt_edit.negative))
    edits = [
        [(part.tokens, *place) for part in fitted.parts for place in part.edits.items()]
        for fitted in (one, other)
    ]
    if [place[:2] for place in edits[0]] != [place[:2] for place in edits[1]]:
        return True
    for (*_, edit), (*_, twin) in zip(*edits, strict=True):
        for name in edit.__dataclass_fields__:
            v, w = (getattr(x, name).double().flatten() for x in (edit, twin))
            if float(v.norm() * w.norm() - (v @ w).abs()) > 1e-3 * float(v.norm() ** 2):
                return True
    return False


@pytest.fixture(scope="module")
def few(many):
    """Twelve pairs of six groups, instructions, and a map: something for every method."""
    return replace(
        many,
        pairs=many.pairs[:12],
        encourage="Be calm.",
        discourage="Be wild.",
        examples=EXAMPLES,
    )


@pytest.mark.parametrize("name", sorted(set(EVERY) - NO_LABELS))
def test_it_differs_from_every_method_that_reads_labels(tiny, few, name):
    method = EVERY[name]

    control = Shuffled(method).fit(tiny("llama"), few, seed=0)

    assert has_other_directions(control, method.fit(tiny("llama"), few, seed=0))


@pytest.mark.parametrize("name", sorted(NO_LABELS))
def test_it_refuses_to_be_the_method_itself(tiny, few, name):
    method = EVERY[name]

    with pytest.raises(BadOption, match=f"but {method.name!r} as given finds the same dir"):
        Shuffled(method).fit(tiny("llama"), few, seed=0)


@pytest.mark.parametrize(
    "name", sorted(name for name in NO_LABELS if not EVERY[name].is_control)
)
@pytest.mark.parametrize("seed", range(4))
def test_what_it_refuses_finds_the_same_on_other_labels(tiny, few, name, seed):
    model, method = tiny("llama"), EVERY[name]

    moved = method.fit(model, shuffled(few, seed), seed=0)

    assert not has_other_directions(moved, method.fit(model, few, seed=0))


def test_what_reads_no_labels_is_known_by_name():
    controls = {name for name, method in EVERY.items() if method.is_control}

    assert NO_LABELS - controls == {
        "actadd",
        "cast",
        "dola",
        "icv on pca",
        "instruction",
        "repe",
    }
    assert controls <= NO_LABELS


@pytest.mark.parametrize(
    ("reference", "advice"),
    [
        (RepE(), "opposite; use 'random' or 'other-task' to control it"),
        (Instruction(), "use 'other-task' to control it"),
        (DoLa(), "compare it with the unsteered model"),
        (Random(CAA()), "control the method that it stands beside"),
        (Shuffled(CAA()), "control the method that it stands beside"),
    ],
)
def test_the_refusal_says_what_to_do_instead(tiny, few, reference, advice):
    with pytest.raises(BadOption, match=advice):
        Shuffled(reference).fit(tiny("llama"), few, seed=0)


def total(fitted):
    return (
        sum(float(e.vector.double().square().sum()) for e in fitted.edits.values()) ** 0.5
    )


def test_it_controls_a_method_whose_labels_choose_its_sites(tiny, many):
    """With one head of three blocks, other labels find another block now and then."""
    model, reference = tiny("llama"), ITI(heads=1, folds=2)
    few = replace(many, pairs=many.pairs[:8])
    sites = set()

    for seed in range(4):
        fitted = Shuffled(reference).fit(model, few, seed=seed)

        honest = reference.fit(model, few, seed=seed)
        assert total(fitted) == pytest.approx(total(honest), rel=1e-5)
        sites.add(list(fitted.edits) == list(honest.edits))
    assert False in sites


@pytest.mark.parametrize("reference", [Ablate(layer=1), LEACE(layer=1), ICV()])
def test_what_has_no_length_is_fitted_on_the_shuffled_labels_and_left_alone(
    tiny, example, reference
):
    model = tiny("llama")

    fitted = Shuffled(reference).fit(model, example, seed=0)

    alone = reference.fit(model, shuffled(example, 0), seed=0)
    for site, edit in alone.edits.items():
        for name in edit.__dataclass_fields__:
            assert torch.equal(getattr(fitted.edits[site], name), getattr(edit, name))


def test_outputs_of_a_map_go_to_other_inputs():
    data = FitData("states", (), examples=EXAMPLES)

    moved = [shuffled(data, seed).examples for seed in range(8)]

    for examples in moved:
        assert [e.input for e in examples] == [e.input for e in EXAMPLES]
        assert sorted(e.output for e in examples) == sorted(e.output for e in EXAMPLES)
        assert not set(examples) & set(EXAMPLES)
    assert len(set(moved)) > 4
    assert shuffled(data, 3).examples == moved[3]


def test_a_map_with_pairs_has_half_of_them_swapped_as_well():
    pairs = tuple(
        Pair(f"{k}", f"{k}", Text(f"{k}", " yes"), Text(f"{k}", " no")) for k in range(8)
    )

    found = shuffled(FitData("states", pairs, examples=EXAMPLES), 0)

    assert sum(pair.positive.completion == " no" for pair in found.pairs) == 4
    assert not set(found.examples) & set(EXAMPLES)


def test_a_single_example_is_refused():
    with pytest.raises(BadData, match="1 demonstration has no other whose label it could"):
        shuffled(FitData("states", (), examples=EXAMPLES[:1]), 0)


def test_a_method_of_maps_reads_moved_labels_and_keeps_its_length(tiny):
    model, reference = tiny("llama"), LayerMean(shots=2, mean_prompts=4)
    data = FitData("states", (), examples=EXAMPLES)

    fitted = Shuffled(reference).fit(model, data, seed=0)

    honest = reference.fit(model, data, seed=0)
    moved = reference.fit(model, shuffled(data, 0), seed=0)
    [[found], [goal], [wrong]] = [
        [edit.vector for edit in x.edits.values()] for x in (fitted, honest, moved)
    ]
    torch.testing.assert_close(found.norm(), goal.norm(), rtol=1e-6, atol=0)
    assert float(torch.cosine_similarity(found, wrong, dim=0)) == pytest.approx(1, abs=1e-6)
    assert not torch.equal(found, goal)


def test_demonstrations_with_shuffled_labels_stay_a_prompt(tiny, example):
    fitted = Shuffled(FewShot(2)).fit(tiny("llama"), example, seed=0)

    assert (len(fitted.prompt_edit.positive), len(fitted.edits)) == (2, 0)
    assert fitted.origin.method == "shuffled"
