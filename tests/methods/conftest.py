"""Data for the tests of methods: a planted truth, and a few pairs for tiny models."""

from dataclasses import replace

import pytest


@pytest.fixture(scope="session")
def planted():
    """A model and the unit direction planted at the output of both its blocks."""
    from seatrial.testing import planted_model

    return planted_model()


@pytest.fixture(scope="session")
def planted_data(tmp_path_factory):
    """96 pairs of 24 groups whose completions differ along the planted direction."""
    from seatrial.data import load_concept
    from seatrial.tasks import Open, fit_data
    from seatrial.testing import planted_concept

    path = planted_concept(tmp_path_factory.mktemp("planted") / "concept.jsonl")
    concept = load_concept(str(path))
    return fit_data(concept, Open({"fit": concept.items}))


@pytest.fixture(scope="session")
def example():
    """Four pairs, of several lengths and forms, for `CHECKS` on tiny models."""
    from seatrial.types import FitData, Message, Pair, Text

    sides = [
        ("The sea", " is calm and clear.", " is rough."),
        ("Today I", " walk slowly to the shore.", " run away, as ever I did."),
        ((Message("user", "Would you wait?"),), "Yes, I would.", "No."),
        ("It is what", " I like.", " I hate."),
    ]
    pairs = tuple(
        Pair(f"p{k}", f"g{k}", Text(prompt, positive), Text(prompt, negative))
        for k, (prompt, positive, negative) in enumerate(sides)
    )
    return FitData("calm", pairs, "You are calm.", "You are wild.", "made by hand")


@pytest.fixture(scope="session")
def many():
    """Sixty pairs of thirty groups: more than a tiny model has dimensions."""
    from seatrial.types import FitData, Pair, Text

    things = ("sea", "train", "walk", "day", "road", "house")
    places = ("at noon", "in the north", "by night", "near us", "on Monday")
    pairs = []
    for thing in things:
        for place in places:
            for verb in ("is", "was"):
                prompt = f"The {thing} {place} {verb}"
                sides = Text(prompt, f" calm, {thing}"), Text(prompt, f" rough, {thing}")
                pairs.append(Pair(f"{thing}, {place}, {verb}", f"{thing} {place}", *sides))
    return FitData("calm", tuple(pairs))


@pytest.fixture(scope="session")
def swap():
    """The same data with positive and negative exchanged in every pair."""

    def swapped(data):
        pairs = tuple(
            replace(pair, positive=pair.negative, negative=pair.positive)
            for pair in data.pairs
        )
        return replace(data, pairs=pairs)

    return swapped
