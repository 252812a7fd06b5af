"""What a method reads of other concepts and maps: from where, and never the same texts."""

import json
import pickle

import pytest

from seatrial.data import CONCEPTS, MAPS, load_concept, load_map, split
from seatrial.errors import BadData, UnknownName
from seatrial.tasks import TARGETS, Map, fit_data
from seatrial.tasks.others import with_others
from seatrial.testing import planted_concept
from seatrial.types import DataOf, FitData, Pair, Text

OWN = FitData(
    "mine", (Pair("p", "g", Text("a", " b"), Text("a", " c")),) * 2, "", "", "own"
)


def one(data, reference, **options):
    return with_others(data, {"it": reference}, **{"seed": 0, **options}).others["it"]


def test_without_references_the_data_are_as_they_were():
    assert with_others(OWN, {}, seed=0) is OWN


def test_a_concept_is_read_from_the_fit_split_alone():
    other = one(OWN, DataOf("honesty"), seed=5, split_seed=3)

    items = split(load_concept("honesty").items, seed=3)["fit"]
    assert other == fit_data(load_concept("honesty"), TARGETS["open"]({"fit": items}))


def test_a_sample_is_drawn_by_the_seed_of_the_fit():
    draws = [one(OWN, DataOf("honesty", limit=4), seed=s, split_seed=3) for s in range(4)]

    assert {len(draw.pairs) for draw in draws} == {4}
    assert len({draw.pairs for draw in draws}) > 1


def test_a_map_is_read_from_the_fit_split_alone():
    other = one(OWN, DataOf("antonym", "map", limit=5, shots=0), seed=1)

    fit = {pair.input for pair in Map.of("antonym", seed=1).splits["fit"]}
    assert len(other.examples) == 5 and {e.input for e in other.examples} <= fit


def test_the_fingerprint_covers_what_is_read_beside():
    prints = {
        with_others(OWN, references, seed=0).fingerprint
        for references in (
            {},
            {"gate": DataOf("honesty")},
            {"class": DataOf("honesty")},
            {"gate": DataOf("honesty", "propensity")},
            {"gate": DataOf("honesty"), "class": DataOf("honesty")},
        )
    }

    assert len(prints) == 5


def test_data_with_others_can_be_hashed_and_sent_to_another_process():
    data = with_others(OWN, {"gate": DataOf("honesty")}, seed=0)

    assert pickle.loads(pickle.dumps(data)) == data
    assert hash(data) == hash(data)


def test_a_text_that_both_share_is_refused(tmp_path):
    concept = load_concept(str(planted_concept(tmp_path / "copy.jsonl")))
    own = fit_data(concept, TARGETS["open"]({"fit": concept.items}))
    path = planted_concept(tmp_path / "again.jsonl")

    with pytest.raises(
        BadData, match=r"'again' and 'copy' share the text \(.*choose anoth"
    ):
        one(own, DataOf(str(path)))
    assert one(own, DataOf(str(path), is_apart=False)).pairs


def test_a_map_that_is_a_copy_is_refused(tmp_path):
    pairs = load_map("antonym").pairs
    path = tmp_path / "copy.jsonl"
    lines = [json.dumps({"input": p.input, "output": p.output}) for p in pairs]
    path.write_text("\n".join(lines), "utf-8")
    own = Map.of("antonym", seed=0)
    own = Map(own.data, {"fit": pairs}, 0).fit_data()

    with pytest.raises(BadData, match=r"examples of 'copy' are examples of 'antonym' too"):
        one(own, DataOf(str(path), "map"))


def test_a_behaviour_of_the_study_comes_before_those_that_ship():
    data = fit_data(
        load_concept("honesty"),
        TARGETS["open"]({"fit": load_concept("honesty").items}),
    )
    behaviours = ("power-seeking", "honesty", "agreeableness")

    assert one(data, DataOf(), behaviours=behaviours).concept == "agreeableness"
    assert one(data, DataOf(), behaviours=("honesty",)).concept != "honesty"
    assert one(data, DataOf()).concept == CONCEPTS[CONCEPTS.index("honesty") + 1]


def test_one_that_shares_a_text_is_passed_over(tmp_path):
    concept = load_concept(str(planted_concept(tmp_path / "copy.jsonl")))
    own = fit_data(concept, TARGETS["open"]({"fit": concept.items}))
    again = str(planted_concept(tmp_path / "again.jsonl"))

    assert one(own, DataOf(), behaviours=(again, "honesty")).concept == "honesty"


def test_the_next_map_is_no_neighbour():
    data = FitData(MAPS[0], ())

    assert one(data, DataOf("", "map", limit=4, shots=0)).concept == MAPS[6]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (DataOf("sea"), "unknown concept 'sea'"),
        (DataOf("honesty", "x"), "unknown target task 'x'; known: .*map"),
        (DataOf("sea", "map"), "unknown map 'sea'"),
    ],
)
def test_what_does_not_exist_is_refused(reference, message):
    with pytest.raises(UnknownName, match=message):
        one(OWN, reference)


def test_where_all_share_texts_that_is_said(monkeypatch, tmp_path):
    concept = load_concept(str(planted_concept(tmp_path / "copy.jsonl")))
    own = fit_data(concept, TARGETS["open"]({"fit": concept.items}))
    again = str(planted_concept(tmp_path / "again.jsonl"))
    monkeypatch.setattr("seatrial.tasks.others.CONCEPTS", ())

    with pytest.raises(BadData, match="no other concept or map can stand beside 'copy': "):
        one(own, DataOf(), behaviours=(again,))
