"""CAST adds a vector to the prompts that its gate picks, and to no others."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from seatrial.data import load_concept, split
from seatrial.errors import BadOption, UnknownName
from seatrial.methods import CAA, CAST, Random, RepE, Shuffled
from seatrial.methods.fitting.contrast import contrast
from seatrial.model import model as model_module
from seatrial.steering import load, save
from seatrial.steering.gate import Gate, best_cut, similarity
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.tasks import TARGETS, fit_data
from seatrial.tasks.others import with_others
from seatrial.testing import CHECKS, planted_concept
from seatrial.testing.planted import NEGATIVE, NUISANCE, POSITIVE
from seatrial.types import FitData, Pair, Request, Site, Text

HAVE = [f"kab {one} lod {other}" for one, other in pairwise(POSITIVE)]
LACK = [f"kab {one} lod {other}" for one, other in pairwise(NEGATIVE)]
NEITHER = [" ".join(NUISANCE[k : k + 4]) for k in range(0, 40, 4)]


def as_pairs(positive, negative):
    """Pairs of whole texts, for a gate of its own."""
    return tuple(
        Pair(f"c{k}", f"c{k}", Text(one, ""), Text(other, ""))
        for k, (one, other) in enumerate(zip(positive, negative, strict=False))
    )


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


@pytest.mark.parametrize("direction", ["pca", "mean"])
@pytest.mark.parametrize("read", ["mean", "last"])
def test_on_a_planted_model_it_fires_on_prompts_with_the_concept_only(
    planted, planted_data, direction, read
):
    model, truth = planted
    method = CAST(layer=0, direction=direction, gate_read=read)

    fitted = method.fit(model, planted_data, seed=0)

    wanted, others = HAVE, LACK
    if read == "last":
        wanted, others = ([prompt.rsplit(" lod ")[0] for prompt in p] for p in (HAVE, LACK))
    assert all(model.acts_on(wanted, fitted))
    assert not any(model.acts_on(others, fitted))
    for vector in (vector_of(fitted), fitted.gate.vector):
        assert float(torch.cosine_similarity(vector, truth, dim=0)) > 0.99


def test_the_behaviour_moves_where_it_fires_and_not_by_a_bit_elsewhere(
    planted, planted_data
):
    model, _ = planted
    fitted = CAST(layer=0).fit(model, planted_data, seed=0)
    requests = [
        Request(str(k), str(k), prompt, (" bright", " dull"))
        for k, prompt in enumerate((*HAVE, *LACK))
    ]

    under = [UNSTEERED, Steering(fitted, 1.0), Steering(fitted, -1.0)]
    plain, up, down = model.log_probs(requests, under)

    margins = [[a.sums[0] - a.sums[1] for a in line] for line in (plain, up, down)]
    for k in range(len(HAVE)):
        assert margins[1][k] > margins[0][k] + 0.5 > margins[2][k] + 1.0
    assert plain[len(HAVE) :] == up[len(HAVE) :] == down[len(HAVE) :]
    texts = model.generate((*HAVE, *LACK), under, max_tokens=3)
    assert texts[0][len(HAVE) :] == texts[1][len(HAVE) :]
    assert texts[0][: len(HAVE)] != texts[1][: len(HAVE)]


@pytest.mark.parametrize("form", ["cosine", "published"])
def test_only_the_published_similarity_fires_on_the_opposite(planted, form):
    """Concept against neutral texts: |cos| cannot tell good words from bad ones."""
    model, _ = planted
    have, lack = (list(map(" ".join, pairwise(words))) for words in (POSITIVE, NEGATIVE))
    data = FitData("words", as_pairs(have, NEITHER))

    fitted = CAST(layer=0, similarity=form, direction="mean").fit(model, data, seed=0)

    assert all(model.acts_on(have, fitted))
    assert not any(model.acts_on(NEITHER, fitted))
    assert model.acts_on(lack, fitted) == (form == "published",) * len(lack)


def test_the_gate_can_be_another_concepts(planted, planted_data, tmp_path):
    """Behaviour and gate come from their own texts, the latter from its fit split."""
    model, truth = planted
    path = planted_concept(tmp_path / "other.jsonl", groups=12, seed=7)
    method = CAST(layer=0, gate_on=str(path))

    data = with_others(planted_data, method.references(planted_data), seed=3)
    fitted = method.fit(model, data, seed=3)

    concept = load_concept(str(path))
    texts = fit_data(concept, TARGETS["open"]({"fit": split(concept.items, seed=3)["fit"]}))
    assert fitted.origin.options["gate_data"] == texts.fingerprint
    assert fitted.origin.data == data.fingerprint != planted_data.fingerprint
    alone = CAST(layer=0).fit(model, texts, seed=3)
    assert torch.equal(fitted.gate.vector, alone.gate.vector)
    assert torch.equal(
        vector_of(fitted), vector_of(CAST(layer=0).fit(model, planted_data, seed=3))
    )
    assert float(torch.cosine_similarity(vector_of(fitted), truth, dim=0)) > 0.99


@pytest.mark.parametrize("form", ["cosine", "published"])
@pytest.mark.parametrize("read", ["mean", "last"])
def test_block_and_threshold_are_the_best_of_all(tiny, many, form, read):
    model = tiny("llama")
    method = CAST(layer=1, similarity=form, gate_read=read)

    fitted = method.fit(model, many, seed=0)

    cuts = []
    for layer in range(model.n_layers):
        alone = replace(method, gate_layer=layer).fit(model, many, seed=0)
        positive, negative = contrast(model, many.pairs, Site(layer), read)
        c = alone.gate.vector
        cut = best_cut(similarity(positive, c, form), similarity(negative, c, form))
        assert alone.gate.site == Site(layer)
        assert (alone.gate.threshold, alone.gate.fires) == cut[2:]
        cuts.append(cut)
    best = max(range(model.n_layers), key=lambda layer: (*cuts[layer][:2], -layer))
    assert fitted.gate.site == Site(best)
    assert fitted.gate.threshold == cuts[best].threshold


def test_what_is_recorded_is_what_the_gate_does(tiny, many):
    model = tiny("llama")

    fitted = CAST(layer=1).fit(model, many, seed=0)

    gate, found = fitted.gate, fitted.origin.options
    picked = {}
    for side in ("positive", "negative"):
        texts = [getattr(pair, side) for pair in many.pairs]
        h = model.activations(texts, [gate.site], "mean")[gate.site]
        picked[side] = gate.opens(h).double().mean().item()
    right, wrong = picked["positive"], picked["negative"]
    assert found["false_positives"] == wrong
    assert found["f1"] == pytest.approx(2 * right / (right + wrong + 1))
    assert (found["gate"], found["fires"]) == (str(gate.site), gate.fires)
    assert found["threshold"] == gate.threshold


@pytest.mark.parametrize("direction", ["pca", "mean"])
def test_its_vector_is_that_of_the_method_without_gate(tiny, many, direction):
    model = tiny("llama")
    reference = {"pca": RepE(layer=1, blocks=2), "mean": CAA(layer=1)}[direction]
    blocks = 2 if direction == "pca" else 1

    fitted = CAST(layer=1, blocks=blocks, direction=direction).fit(model, many, seed=0)

    wanted = reference.fit(model, many, seed=0)
    assert list(fitted.edits) == list(wanted.edits)
    for site, edit in wanted.edits.items():
        torch.testing.assert_close(fitted.edits[site].vector, edit.vector)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, example, check):
    CHECKS[check](CAST(layer=1), tiny("gemma3"), example)


@pytest.mark.parametrize("control", [Random, Shuffled])
def test_controls_keep_a_gate(tiny, many, control):
    model = tiny("llama")

    # Principal components depend on no label, so shuffling them is refused.
    method = CAST(layer=1, direction="mean")
    beside = control(method).fit(model, many, seed=0)

    fitted = method.fit(model, many, seed=0)
    assert beside.gate is not None
    if control is Random:
        assert torch.equal(beside.gate.vector, fitted.gate.vector)
    lengths = float(vector_of(beside).norm()), float(vector_of(fitted).norm())
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-4)


def test_it_is_saved_and_loaded_with_its_gate(tiny, many, tmp_path):
    model = tiny("llama")
    fitted = CAST(layer=1).fit(model, many, seed=0)

    save(fitted, tmp_path / "cast")

    loaded = load(tmp_path / "cast")
    prompts = [pair.positive.prompt for pair in many.pairs[:6]]
    prompts += [pair.positive.prompt + pair.positive.completion for pair in many.pairs]
    acts = model.acts_on(prompts, fitted)
    assert model.acts_on(prompts, loaded) == acts
    assert len(set(acts)) == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"blocks": 0}, BadOption, "blocks must be at least 1, not 0"),
        ({"layer": 9}, BadOption, "layer 9 does not exist"),
        ({"gate_layer": 9}, BadOption, "layer 9 does not exist"),
        ({"gate_on": "no-such-concept"}, UnknownName, "no-such-concept"),
        (
            {"gate_on": "honesty", "gate_task": "sonnet"},
            UnknownName,
            "unknown target task 'sonnet'",
        ),
    ],
    ids=str,
)
def test_what_it_cannot_use_is_refused(tiny, example, options, error, message):
    method = CAST(**{"layer": 1, **options})

    with pytest.raises(error, match=message):
        data = with_others(example, method.references(example), seed=0)
        method.fit(tiny("llama"), data, seed=0)


def test_the_same_concept_is_no_other_one(tiny, example):
    method, data = CAST(gate_on="honesty"), replace(example, concept="honesty")
    data = with_others(data, method.references(data), seed=0)

    with pytest.raises(BadOption, match="fitted on 'honesty' itself; leave gate_on"):
        method.fit(tiny("llama"), data, seed=0)


def test_a_gate_that_the_first_prompt_of_a_batch_sets_is_found_out(
    tiny, example, monkeypatch
):
    """As in released code (trap T5): the promise on batches must bite."""
    honest = model_module.decide

    def of_the_first(*asked):
        return [(line[0],) * len(line) for line in honest(*asked)]

    monkeypatch.setattr(model_module, "decide", of_the_first)
    with pytest.raises(AssertionError, match="alone and in its batch differ by"):
        CHECKS["batching and padding change nothing"](CAST(layer=1), tiny("llama"), example)


def test_a_gate_with_its_sides_exchanged_is_found_out(tiny, example, monkeypatch):
    """Trap T24: the naive way decides by the words themselves."""
    honest = Gate.distance
    monkeypatch.setattr(Gate, "distance", lambda gate, h: -honest(gate, h))

    with pytest.raises(AssertionError, match="cached generation gives"):
        CHECKS["cached generation equals recomputation"](
            CAST(layer=1), tiny("llama"), example
        )
