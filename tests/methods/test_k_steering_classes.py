"""K-steering with more classes than two: where it leads, and that two are as before."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods import KSteering, make_method, options_of
from seatrial.methods.fitting.classifier import StateClassifier
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.k_steering import class_labels
from seatrial.model import Model
from seatrial.steering.intervention import Steering
from seatrial.tasks.others import with_others
from seatrial.testing import planted_model
from seatrial.testing.planted import NEGATIVE, NUISANCE, POSITIVE
from seatrial.types import FitData, Pair, Request, Site, Text

SITE, THIRD, PLAIN = Site(1), NUISANCE[:8], NUISANCE[8:]
BOTH = ("positive", "negative")


def said(words, random):
    mixed = [*random.choice(words, 3), *random.choice(PLAIN, 3)]
    return " " + " ".join(random.permutation(mixed).tolist())


def texts(words, others, n, seed):
    """Texts that hold some words, and texts of the same prompts that hold others."""
    random = np.random.default_rng(seed)
    prompts = [" ".join(random.choice(PLAIN, 4).tolist()) for _ in range(n)]
    return [(prompt, said(words, random), said(others, random)) for prompt in prompts]


def third_concept(path, n=96):
    """A file of a concept whose texts hold words of the third kind, or plain ones."""
    about = {"about": "third", "encourage": "Do.", "discourage": "Do not."}
    lines = [{"concept": about}]
    for k, (prompt, matching, other) in enumerate(texts(THIRD, PLAIN, n, seed=2)):
        line = {"id": f"t{k}", "group": f"g{k // 4}", "prompt": prompt}
        line |= {"statement": f"I say {k}.", "matching": ("no", "yes")[k % 2]}
        lines.append(line | {"matching_text": matching, "other_text": other})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model with a direction u of good and bad words, and w of words of a third kind."""
    model, u = planted_model()
    network, tokenizer = model.engine.network, model.encoder.tokenizer
    ids = {
        name: tokenizer.convert_tokens_to_ids(list(words))
        for name, words in (("good", POSITIVE), ("bad", NEGATIVE), ("third", THIRD))
    }
    embedding, unembedding = network.model.embed_tokens.weight, network.lm_head.weight
    with torch.no_grad():
        level = embedding[[*ids["good"], *ids["bad"]]].mean(0)
        drawn = torch.randn(len(u), generator=torch.Generator().manual_seed(5))
        plane = torch.linalg.qr(torch.stack([u, level, drawn], dim=1)).Q
        w = plane[:, 2]
        embedding[ids["third"]] = level + w
        unembedding[ids["third"]] += 0.5 * w
    pairs = tuple(
        Pair(f"p{k}", f"g{k // 4}", Text(prompt, good), Text(prompt, bad))
        for k, (prompt, good, bad) in enumerate(texts(POSITIVE, NEGATIVE, 96, seed=1))
    )
    path = third_concept(tmp_path_factory.mktemp("third") / "third.jsonl")
    return SimpleNamespace(
        model=Model(network, tokenizer, model.card), data=FitData("mood", pairs),
        path=str(path), u=u, w=w, ids=ids,
    )  # fmt: skip


def method_of(world, **options):
    given = {"layer": 1, "read": "completion", "others": (world.path,)}
    return KSteering(**given | options)


def filled(method, data):
    """The data with those of its other classes, as whoever fits fills them in."""
    return with_others(data, method.references(data), seed=0)


def fit(world, method):
    return method.fit(world.model, filled(method, world.data), seed=0)


def edit_of(fitted):
    [edit] = fitted.edits.values()
    return edit


def read(world, method):
    """States and labels as a fit has them."""
    everything = [world.data, *method.other_classes(filled(method, world.data))]
    sides = [contrast(world.model, d.pairs, SITE, "completion") for d in everything]
    states = torch.cat([torch.stack(each, dim=1) for each in sides]).double()
    return states, class_labels(everything[0], everything[1:])


@pytest.fixture(scope="module")
def aside(world):
    """From the good texts to those of the third kind."""
    method = method_of(world, target=("third",), avoid=("positive",))
    return method, fit(world, method)


def test_states_move_to_the_target_and_away_from_the_avoided_class(world, aside):
    method, fitted = aside
    states, labels = read(world, method)
    classifier = method.classifier(states, labels, seed=0)

    moved = edit_of(fitted)(states, 1.0)

    before, after = (classifier.logits(h).sigmoid() for h in (states, moved))
    good = labels[..., 0].bool()
    for rise in ((after - before)[..., 2], (before - after)[..., 0]):
        assert float(rise[good].min()) > 0 and float(rise.mean()) > 0.1
    step = normalize(moved - states, dim=-1).float()
    along, against = step @ world.w, -step @ world.u
    assert float(along[good].min()) > 0.15 and float(against[good].min()) > 0.5
    assert float((along.square() + against.square()).sqrt()[good].min()) > 0.9
    assert float(along[labels[..., 2].bool()].min()) > 0.95  # nothing to leave there


def test_the_classifier_tells_three_classes_and_texts_of_none(world, aside):
    method, _ = aside
    states, labels = read(world, method)

    found = method.classifier(states, labels, seed=0).logits(states) > 0

    assert labels.sum(-1).unique().tolist() == [0, 1]
    assert labels.sum((0, 1)).tolist() == [96, 96, 40]
    assert float((found == labels.bool()).double().mean()) > 0.97


def test_words_of_the_target_get_likelier_and_avoided_ones_less_likely(world, aside):
    _, fitted = aside
    words = [f" {kind[0]}" for kind in (POSITIVE, NEGATIVE, THIRD)]
    asked = [Request("r", "r", " ".join(PLAIN[:4]), tuple(words))]

    answers = world.model.log_probs(asked, [Steering(fitted, d) for d in (-1, 0, 1)])

    (good, _, third), (plain_good, _, plain_third), (last_good, _, last_third) = (
        answer.sums for [answer] in answers
    )
    assert third < plain_third - 0.1 < plain_third + 0.1 < last_third
    assert good > plain_good + 0.1 > plain_good - 0.1 > last_good


@pytest.mark.parametrize("avoid", [("negative",), BOTH, ()])
def test_dose_one_is_as_long_as_the_target_is_away_from_what_is_left(world, avoid):
    method = method_of(world, target=("third",), avoid=avoid, epochs=30)
    states, labels = read(world, method)

    moved = edit_of(fit(world, method))(states, 1.0) - states

    own, other = states[: len(world.data.pairs)], states[len(world.data.pairs) :]
    left = {("negative",): own[:, 1], BOTH: own.flatten(0, 1)}.get(
        avoid, torch.cat([own.flatten(0, 1), other[:, 1]])
    )
    wanted = (other[:, 0].mean(0) - left.mean(0)).norm()
    torch.testing.assert_close(moved.norm(dim=-1).mean(), wanted, rtol=1e-4, atol=0)
    assert labels.shape == (*states.shape[:2], 3)


@pytest.mark.parametrize(("target", "avoid"), [([0, 2], [1]), ([2], [0, 1]), ([1], [])])
def test_its_step_is_the_gradient_of_mean_logits(target, avoid):
    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    generator = torch.Generator().manual_seed(0)
    shapes = (7, 5), (7,), (6, 7), (6,), (3, 6), (3,)
    network = StateClassifier(*(normal(*shape) for shape in shapes))
    h = normal(20, 5).requires_grad_()

    logits = network.logits(h)
    left = logits[:, avoid].mean(-1) if avoid else 0.0
    (logits[:, target].mean(-1) - left).sum().backward()

    found = network.climb(target, avoid).gradient(h.detach())
    torch.testing.assert_close(found, h.grad, atol=1e-5, rtol=1e-5)


def two_logits(x, weights):
    a, b, c, d, e, f = weights
    return ((x @ a.mT + b).relu() @ c.mT + d).relu() @ e.mT + f


def test_two_classes_are_learnt_as_by_the_short_way(tiny, example):
    """Bit for bit: one logit a side, and nothing that knows of more."""
    model, method = tiny("llama"), KSteering(layer=1, epochs=5, batch=4)
    sides = contrast(model, example.pairs, SITE, "last")
    states = torch.stack(sides, dim=1).double()
    centre = states.mean((0, 1))
    scale = (states - centre).square().mean().sqrt()
    x, n = (states - centre) / scale, method.hidden
    generator = torch.Generator().manual_seed(3)

    def hidden(columns):
        drawn = torch.randn(n, columns, generator=generator, dtype=torch.float64)
        return drawn / (3 * columns) ** 0.5

    weights = [hidden(32), torch.zeros(n), hidden(n), *map(torch.zeros, (n, (2, n), 2))]
    weights = [weight.double().requires_grad_() for weight in weights]
    adam = torch.optim.Adam(weights, lr=method.rate, weight_decay=method.weight_decay)
    for _ in range(method.epochs):
        for picked in torch.randperm(len(x), generator=generator).split(2):
            logits = two_logits(x[picked], weights)
            aim = torch.eye(2).double().expand_as(logits)
            adam.zero_grad()
            binary_cross_entropy_with_logits(logits, aim).backward()
            adam.step()
    first, _, second, _, last, _ = (weight.detach() for weight in weights)

    edit = edit_of(method.fit(model, example, seed=3))

    assert torch.equal(edit.first, (first / scale).float())
    assert torch.equal(edit.second, second.float())
    assert torch.equal(edit.goal, (last[0] - last[1]).float())
    wanted = (sides[0].double().mean(0) - sides[1].double().mean(0)).norm()
    assert float((edit(states, 1.0) - states).norm(dim=-1).mean()) == pytest.approx(
        float(wanted), rel=1e-5
    )


def pair(name, positive, negative):
    return Pair(name, name, Text("Say:", positive), Text("Say:", negative))


def test_a_text_has_every_class_it_stands_in_word_for_word():
    own = FitData("tone", (pair("a", " Sir", " hey"), pair("b", " hey", " yo")))
    other = FitData("joke", (pair("c", " ha", " hey"), pair("d", " Sir", " no")))

    labels = class_labels(own, [other])

    assert labels.int().tolist() == [
        [[1, 0, 1], [0, 1, 0]],
        [[1, 0, 0], [0, 1, 0]],  # of the own pairs each has the side it stands on
        [[0, 0, 1], [1, 1, 0]],
        [[1, 0, 1], [0, 0, 0]],
    ]


@pytest.mark.parametrize(
    ("options", "odd", "reads"),
    [
        ({}, True, True),
        ({"target": ("negative",), "avoid": ("positive",)}, True, True),
        ({"target": ("positive", "third"), "avoid": ("negative",)}, False, True),
        ({"target": ("third",), "avoid": ("positive",)}, False, True),
        ({"target": ("positive",), "avoid": ()}, False, True),
        ({"target": ("third",), "avoid": ()}, False, False),
    ],
)
def test_what_swapped_and_shuffled_labels_do_follows_from_the_aims(options, odd, reads):
    method = KSteering(others=("third",), **options)

    assert (method.is_odd, method.reads_labels) == (odd, reads)


def test_swapped_pairs_climb_the_other_way_beside_a_third_class(world, swap):
    method = method_of(world, epochs=10)
    states, _ = read(world, method)

    one, other = (
        edit_of(method.fit(world.model, filled(method, data), seed=0))
        for data in (world.data, swap(world.data))
    )

    torch.testing.assert_close(one(states, 1.0), other(states, -1.0), atol=1e-5, rtol=1e-5)


def test_its_classes_are_on_record_and_old_cells_keep_their_names(world, aside):
    _, fitted = aside

    told = fitted.origin.options

    assert (told["target"], told["avoid"]) == (("third",), ("positive",))
    assert told["others"] == (world.path,) and len(told["others_data"]) == 1
    new = {"others", "others_task", "target", "avoid"}
    assert not new & set(options_of(KSteering(), brief=True))
    assert new <= set(options_of(KSteering()))
    given = {"others": ["third"], "target": ["third"], "avoid": []}
    made = make_method("k-steering", given)
    assert made == KSteering(others=("third",), target=("third",), avoid=())


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"target": ("thrid",)}, UnknownName, "unknown class 'thrid'; .* mean 'third'"),
        ({"avoid": ("fourth",)}, UnknownName, "unknown class 'fourth'"),
        ({"target": ()}, BadOption, r"at least one class, and none .* not \[\] and"),
        ({"avoid": ("positive",)}, BadOption, "target must name at least one class"),
        ({"others_task": "opne"}, UnknownName, "unknown target task 'opne'"),
        ({"target": BOTH, "avoid": (), "others": ()}, BadData, "every text that k-steeri"),
    ],
)
def test_aims_without_meaning_are_refused(world, options, kind, message):
    method = method_of(world, epochs=1, **options)

    with pytest.raises(kind, match=message):
        fit(world, method)


def test_the_concept_itself_is_no_other_one(world):
    own = FitData("third", world.data.pairs)
    twice = (world.path, world.path)

    for others, data in (((world.path,), own), (twice, world.data)):
        with pytest.raises(BadOption, match="others must name concepts beside"):
            method = method_of(world, others=others)
            method.other_classes(filled(method, data))
