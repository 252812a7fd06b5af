"""The other-task control: the same method on another concept's texts, equally long."""

import json
from itertools import pairwise

import pytest
import torch

from seatrial.data import CONCEPTS, MAPS, load_concept, load_map
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods import CAA, ICV, Instruction, LayerMean, OtherTask
from seatrial.steering.intervention import Intervention, Steering
from seatrial.tasks import TARGETS, fit_data
from seatrial.tasks.others import with_others
from seatrial.testing import CHECKS, planted_concept
from seatrial.testing.planted import NUISANCE
from seatrial.types import Example, FitData, Pair, Request, Site, Text

REFERENCE = CAA(layer=1, read="completion")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A concept about the weather, short enough for tiny models."""
    path = tmp_path_factory.mktemp("other") / "weather.jsonl"
    lines = [{"concept": {"encourage": "Be warm.", "discourage": "Be cold."}}]
    for k in range(16):
        words = {"prompt": f"Day {k}", "matching_text": f"was dry {k}", "other_text": "wet"}
        asked = {"statement": f"I like day {k}.", "matching": "yes" if k % 2 else "no"}
        lines.append({"id": f"w{k}", "group": f"g{k}", **words, **asked})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    return str(path)


def filled(control, data, seed=0):
    """The data with those of the other concept, as whoever fits fills them in."""
    return with_others(data, control.references(data), seed=seed)


def elsewhere_of(control, data, seed=0):
    return control.elsewhere(filled(control, data, seed))


def fit(control, model, data, seed=0):
    return control.fit(model, filled(control, data, seed), seed=seed)


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


def cosine(a, b):
    return float(torch.cosine_similarity(a, b, dim=0))


def data_of(name, task="open"):
    concept = load_concept(name)
    return fit_data(concept, TARGETS[task]({"fit": concept.items}))


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, example, elsewhere, check):
    control = OtherTask(CAA(layer=1), other=elsewhere)

    CHECKS[check](control, tiny("llama"), filled(control, example))


def test_it_reads_the_given_pairs_and_those_of_the_other_concept_only(
    tiny, example, elsewhere, monkeypatch
):
    model, read = tiny("llama", seed=7), []
    encode = model.encoder.encode

    def watched(prompt, answers):
        read.extend(Text(prompt, answer) for answer in answers)
        return encode(prompt, answers)

    monkeypatch.setattr(model.encoder, "encode", watched)
    fit(OtherTask(CAA(layer=1), other=elsewhere), model, example, 0)

    pairs = (*example.pairs, *data_of(elsewhere).pairs)
    assert set(read) <= {text for pair in pairs for text in (pair.positive, pair.negative)}
    assert set(read) & {pair.positive for pair in data_of(elsewhere).pairs}


def test_its_vector_is_that_of_the_other_concept_at_the_norm_of_the_method(
    tiny, example, elsewhere
):
    model = tiny("llama")
    control = OtherTask(REFERENCE, other=elsewhere)

    vector = vector_of(fit(control, model, example))

    other = elsewhere_of(control, example, 0)
    alone = vector_of(REFERENCE.fit(model, other, seed=0))
    goal = vector_of(REFERENCE.fit(model, example, seed=0))
    assert cosine(vector, alone) == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(vector.norm(), goal.norm(), rtol=1e-6, atol=0)
    assert float(alone.norm()) != pytest.approx(float(goal.norm()), rel=1e-2)


def test_unscaled_it_is_the_method_on_the_other_data(tiny, example, elsewhere):
    model, control = tiny("llama"), OtherTask(REFERENCE, other=elsewhere, rescale=False)

    fitted = fit(control, model, example)

    alone = REFERENCE.fit(model, elsewhere_of(control, example, 0), seed=0)
    assert torch.equal(vector_of(fitted), vector_of(alone))


def test_it_has_as_many_items_as_there_are_pairs(example, elsewhere):
    control = OtherTask(REFERENCE, other=elsewhere)

    draws = [elsewhere_of(control, example, seed) for seed in range(8)]

    assert {len(data.pairs) for data in draws} == {len(example.pairs)} == {4}
    assert len({data.pairs for data in draws}) > 1
    assert elsewhere_of(control, example, 3) == draws[3]


@pytest.mark.parametrize("task", ["open", "propensity"])
def test_its_pairs_are_those_of_the_task_asked_for(example, elsewhere, task):
    found = elsewhere_of(OtherTask(REFERENCE, other=elsewhere, fit_on=task), example, 0)

    assert set(found.pairs) < set(data_of(elsewhere, task).pairs)


@pytest.mark.parametrize(
    ("concept", "after"), [*pairwise((*CONCEPTS, CONCEPTS[0])), ("own", CONCEPTS[0])]
)
def test_by_default_the_other_concept_is_the_next_one(concept, after):
    pairs = (Pair("p", "g", Text("a", " b"), Text("a", " c")),) * 4

    found = elsewhere_of(OtherTask(REFERENCE), FitData(concept, pairs), 0)

    assert found.concept == after


def test_any_two_built_in_concepts_can_control_each_other():
    for concept in CONCEPTS:
        data = data_of(concept)
        for other in set(CONCEPTS) - {concept}:
            assert elsewhere_of(OtherTask(REFERENCE, other=other), data, 0).pairs


def test_it_remembers_which_concept_was_taken(tiny, example, elsewhere):
    control = OtherTask(REFERENCE, other=elsewhere)
    data = filled(control, example, 9)

    origin = control.fit(tiny("llama"), data, seed=9).origin

    assert (origin.method, origin.data) == ("other-task", data.fingerprint)
    assert (origin.seed, len(origin.data)) == (9, 12)
    assert origin.options["other"] == "weather"
    assert len(origin.options["other_data"]) == 12
    assert origin.options["reference"]["name"] == "caa"
    assert origin.options["fit_on"] == "open"


def test_it_edits_where_the_method_edits(tiny, example, elsewhere):
    reference = CAA(layer=0, tokens="generated")

    fitted = fit(OtherTask(reference, other=elsewhere), tiny("llama"), example, 0)

    assert (list(fitted.edits), fitted.tokens) == ([Site(0)], "generated")


def test_it_controls_methods_that_do_not_add(tiny, example, elsewhere):
    model, control = tiny("llama"), OtherTask(ICV(), other=elsewhere)

    fitted = fit(control, model, example)

    alone = ICV().fit(model, elsewhere_of(control, example, 0), seed=0)
    for site, edit in alone.edits.items():
        assert torch.equal(fitted.edits[site].vector, edit.vector)


def test_it_controls_a_prompt_by_the_other_instruction(tiny, example, elsewhere):
    fitted = fit(OtherTask(Instruction(), other=elsewhere), tiny("llama"), example, 0)

    assert (fitted.prompt_edit.encourage, fitted.prompt_edit.discourage) == (
        "Be warm.",
        "Be cold.",
    )


def test_it_does_not_move_the_planted_behaviour(planted, planted_data, tmp_path):
    """The words of the other concept are noise to the model."""
    model, truth = planted
    path = tmp_path / "noise.jsonl"
    lines = []
    for k in range(8):
        a, b, c, d = (NUISANCE[(3 * k + step) % len(NUISANCE)] for step in range(4))
        words = {
            "prompt": f"{a} {b}",
            "matching_text": f"{c} {a}",
            "other_text": d,
        }
        asked = {"statement": f"I like day {k}.", "matching": "yes" if k % 2 else "no"}
        lines.append({"id": f"w{k}", "group": f"g{k}", **words, **asked})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")

    fitted = fit(OtherTask(REFERENCE, other=str(path)), model, planted_data, 0)

    honest = REFERENCE.fit(model, planted_data, seed=0)
    asked = [Request("r", "r", "kab lod mig", (" bright lovely", " dull ugly"))]
    answers = model.log_probs(
        asked, [Steering(Intervention(), 0), Steering(honest), Steering(fitted)]
    )
    plain, moved, other = (a.sums[0] - a.sums[1] for [a] in answers)
    assert abs(cosine(vector_of(fitted), truth)) < 0.05
    assert abs(other - plain) < 0.2 * (moved - plain)


def test_the_same_concept_is_no_other_one(planted_data, tmp_path):
    path = planted_concept(tmp_path / "concept.jsonl")

    with pytest.raises(BadOption, match="needs another concept than 'concept', on which"):
        elsewhere_of(OtherTask(REFERENCE, other=str(path)), planted_data, 0)


def test_the_same_texts_under_another_name_are_refused(planted_data, tmp_path):
    path = planted_concept(tmp_path / "copy.jsonl")

    with pytest.raises(BadData, match="'copy' and 'concept' share the text"):
        elsewhere_of(OtherTask(REFERENCE, other=str(path)), planted_data, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"other": "sea"}, "unknown concept 'sea'"),
        ({"fit_on": "x"}, "unknown target task 'x'"),
    ],
)
def test_what_does_not_exist_is_refused(example, options, message):
    with pytest.raises(UnknownName, match=message):
        elsewhere_of(OtherTask(REFERENCE, **options), example, 0)


def test_a_vector_of_zeros_cannot_be_rescaled(tiny, example, elsewhere):
    reference = CAA(layer=1, read="last_prompt")

    with pytest.raises(BadData, match=r"'weather' gives a zero vector at site 1\.resid"):
        fit(OtherTask(reference, other=elsewhere), tiny("llama"), example, 0)


def examples_of(name):
    return {Example(pair.input, pair.output) for pair in load_map(name).pairs}


def map_data(name, n=14):
    """Examples of a built-in map alone, as for the methods that need no pairs."""
    pairs = load_map(name).pairs[:n]
    return FitData(name, (), examples=tuple(Example(p.input, p.output) for p in pairs))


@pytest.mark.parametrize("name", MAPS)
def test_every_built_in_map_has_another_one_as_control(name):
    data, control = map_data(name), OtherTask(LayerMean())

    found = elsewhere_of(control, data, 0)

    assert found.concept in set(MAPS) - {name}
    assert len(found.examples) == len(data.examples)
    assert set(found.examples) <= examples_of(found.concept) - examples_of(name)
    assert elsewhere_of(control, data, 0) == found
    assert elsewhere_of(control, data, 1).examples != found.examples


def test_pairs_of_the_other_map_are_shown_as_those_of_the_method():
    own = tuple(map_data("antonym").examples)
    bare = Text("Q: hot\nA:", " cold"), Text("Q: hot\nA:", " up")
    shown = Text("Q: up\nA: down\n\nQ: hot\nA:", " cold"), bare[0]

    for sides, n_shown in ((bare, 1), (shown, 11)):
        data = FitData("antonym", (Pair("p", "g", *sides),) * 2, examples=own)
        found = elsewhere_of(OtherTask(CAA(), other="present-past"), data, 0)

        assert {text.prompt.count("Q:") for p in found.pairs for text in (p.positive,)} == {
            n_shown
        }
        assert 1 < len(found.pairs) <= len(own)


def test_a_map_is_no_control_of_itself_and_neither_is_a_copy(tmp_path):
    data = FitData("antonym", (), examples=tuple(sorted(examples_of("antonym"))))
    path = tmp_path / "copy.jsonl"
    lines = [json.dumps({"input": e.input, "output": e.output}) for e in data.examples]
    path.write_text("\n".join(lines), "utf-8")

    with pytest.raises(BadOption, match="needs another concept than 'antonym'"):
        elsewhere_of(OtherTask(LayerMean(), other="antonym"), data, 0)
    with pytest.raises(BadData, match=r"examples of 'copy' are examples of 'antonym' too"):
        elsewhere_of(OtherTask(LayerMean(), other=str(path)), data, 0)


def test_a_method_of_maps_is_fitted_on_the_other_map_at_its_own_norm(tiny):
    model, data = tiny("llama"), map_data("antonym")
    reference = LayerMean(shots=2, mean_prompts=4)

    fitted = fit(OtherTask(reference), model, data, 2)

    elsewhere = elsewhere_of(OtherTask(reference), data, 2)
    alone, goal = (vector_of(reference.fit(model, d, seed=2)) for d in (elsewhere, data))
    assert cosine(vector_of(fitted), alone) == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(vector_of(fitted).norm(), goal.norm(), rtol=1e-6, atol=0)
    assert fitted.origin.options["other"] == elsewhere.concept
