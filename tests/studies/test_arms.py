"""Which controls and refits stand beside a method, and with which draws."""

import polars as pl
import pytest

from seatrial.analysis.summary import summarise
from seatrial.errors import BadFile
from seatrial.methods import CAA, DoLa, Shuffled
from seatrial.model import Model
from seatrial.steering import load, save
from seatrial.store import Store
from seatrial.studies.arms import arms_of, deciding, draws_of
from seatrial.studies.behaviour import without_part
from seatrial.studies.expand import Shape
from seatrial.studies.fitting import Saved
from seatrial.studies.run import run
from seatrial.studies.study import read_study
from seatrial.types import Example, FitData, Pair, Text

SHAPE = Shape(4, 4)
PAIRS = tuple(
    Pair(f"p{k}", f"g{k // 2}", Text("", f"day {k} is calm"), Text("", f"day {k} is rough"))
    for k in range(10)
)
DATA = FitData("calm", PAIRS, fingerprint="by hand")


def arms(methods, **keys):
    plan = {"models": ["tiny"], "behaviours": ["truthfulqa"], "methods": methods, **keys}
    [plan] = read_study(plan).plans
    return {arm.label: arm for arm in arms_of(plan, SHAPE) if arm.kind == "method"}


def counted(arm):
    draws = draws_of(arm, arm.candidates[0], seed=0)
    return {d.control.label: sum(e.control == d.control for e in draws) for d in draws}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A steering vector of CAA that was fitted before, and its path."""
    path = tmp_path_factory.mktemp("saved") / "calm.safetensors"
    fitted = CAA(layer=1, read="completion").fit(Model.load("tiny"), DATA, seed=0)
    save(fitted, path)
    return fitted, path


def test_controls_stand_beside_every_method_that_can_have_them():
    made = arms(
        {"caa": {"layer": 1}, "instruction": {}, "dola": {}, "leace": {"layer": 1}},
        controls={"random": 3, "shuffled": 2, "other-task": 1},
        baselines=[],
    )

    assert {label: counted(arm) for label, arm in made.items()} == {
        "caa": {"random": 3, "shuffled": 2, "other-task": 1},
        "leace": {"random": 3, "shuffled": 2, "other-task": 1},
        "instruction": {"other-task": 1},
        "dola": {"other-task": 1, "length": 1},
    }


def test_draws_of_two_seeds_share_no_seed():
    [arm] = arms({"caa": {"layer": 1}}).values()

    drawn = [draws_of(arm, arm.candidates[0], seed) for seed in (0, 1, 2)]

    assert [draw.seed for draw in drawn[2]][:3] == [2001, 2002, 2003]
    for control in ("random", "shuffled"):
        seeds = [d.seed for draws in drawn for d in draws if d.control.label == control]
        assert len(set(seeds)) == len(seeds) == 36


def test_a_readout_always_has_the_control_of_its_length():
    made = arms(
        {"dola": {}, "own": {"name": "dola", "controls": {"length": 1}}}, controls=[]
    )

    assert [counted(arm) for arm in made.values()] == [{"length": 1}, {"length": 1}]
    assert deciding(made["dola"]) == []


def test_a_saved_vector_is_controlled_by_fits_of_the_method_that_made_it(saved):
    fitted, path = saved
    [arm] = arms({"shipped": str(path)}, controls={"random": 3, "shuffled": 2}).values()

    draws = draws_of(arm, {}, seed=0)

    assert deciding(arm) == ["random", "shuffled"]
    assert counted(arm) == {"random": 3, "shuffled": 2}
    shuffled = draws[-1].method
    assert isinstance(shuffled, Shuffled)
    assert shuffled.reference == CAA(layer=1, read="completion")
    for draw in draws:
        control = draw.method.fit(Model.load("tiny"), DATA, seed=draw.seed)
        assert control.norms() == pytest.approx(fitted.norms(), rel=1e-5)
        [(site, edit)] = control.edits.items()
        assert not edit.vector.allclose(fitted.edits[site].vector)


def test_a_vector_of_an_unknown_method_is_controlled_as_caa_at_its_layer(saved, tmp_path):
    from dataclasses import replace

    fitted, _ = saved
    foreign = replace(fitted, origin=replace(fitted.origin, method="theirs"))
    save(foreign, tmp_path / "theirs.safetensors")

    assert Saved.at(str(tmp_path / "theirs.safetensors")).origin == CAA(layer=1)


def test_a_saved_file_is_named_by_its_content(saved, tmp_path, plan):
    from seatrial.store.records import Unit
    from seatrial.studies.phases import Phases

    _, path = saved
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    other = tmp_path / "other.safetensors"
    save(CAA(layer=2).fit(Model.load("tiny"), DATA, seed=0), other)

    def fits(file):
        [read] = read_study(plan(methods={"shipped": str(file)})).plans
        phases = Phases(Model.load("tiny"), read, Unit("tiny", 0, "planted"))
        return {p.fit.id for b in phases.batches("test") for p in b.placed if p.fit}

    assert len(fits(path)) == 1 + 2 + 1  # itself, its random draws, its shuffled one
    assert fits(path) == fits(copy)
    assert fits(path).isdisjoint(fits(other))


def test_a_file_that_is_no_steering_is_said_before_anything_is_measured(plan, tmp_path):
    file = tmp_path / "none.safetensors"

    with pytest.raises(BadFile, match=r"none\.safetensors does not exist"):
        run(read_study(plan(methods={"shipped": str(file)})), Store(tmp_path / "run"))

    assert not (tmp_path / "run").exists()


def test_a_saved_vector_is_judged_beside_its_controls(saved, plan, measured):
    _, path = saved
    many = plan(
        methods={"shipped": {"name": str(path), "dose": 1}},
        controls={"random": 3, "shuffled": 2},
    )

    store, _ = measured(many)

    [trial] = summarise(store).trials
    assert trial.verdict.label != "not judged", trial.verdict.reasons
    assert {control.method for control in trial.controls} == {"random", "shuffled"}


def test_each_refit_leaves_out_one_part_of_the_groups():
    parts = [without_part(DATA, part, 3) for part in range(3)]

    left_out = [{p.group for p in PAIRS} - {p.group for p in d.pairs} for d in parts]
    assert left_out == [{"g0", "g3"}, {"g1", "g4"}, {"g2"}]
    assert len({data.fingerprint for data in (*parts, DATA)}) == 4


def test_examples_of_a_map_are_left_out_one_by_one():
    examples = tuple(Example(f"in {k}", f"out {k}") for k in range(5))
    data = FitData("map", (), examples=examples, fingerprint="by hand")

    kept = [without_part(data, part, 2) for part in range(2)]

    assert [[e.input for e in d.examples] for d in kept] == [
        ["in 1", "in 3"],
        ["in 0", "in 2", "in 4"],
    ]


def test_there_is_no_refit_where_nothing_or_everything_would_be_left_out():
    one = FitData("calm", PAIRS[:2], fingerprint="by hand")

    assert without_part(one, 0, 3) is None
    assert without_part(one, 1, 3) is None


def test_refits_are_measured_at_the_chosen_dose_and_told(plan, measured):
    caa = {"read": "completion", "layer": 2, "dose": 1}

    store, _ = measured(plan(methods={"caa": caa}, refits=3))

    rows = store.scan().filter(pl.col("kind") == "refit").collect()
    assert set(rows["draw"]) == {0, 1, 2}
    assert set(rows["dose"]) == {-1.0, 1.0}
    assert set(rows["phase"]) == {"test"}
    assert set(rows["condition"]) == {"base"}
    [trial] = summarise(store).trials
    effects = [refit.effect.value for refit in trial.refits]
    assert [refit.part for refit in trial.refits] == [0, 1, 2]
    assert len({trial.effect.value, *effects}) == 4
    told = f"between {min(effects):.3g} and {max(effects):.3g}"
    assert any(told in reason for reason in trial.verdict.reasons)


def test_a_length_control_is_fitted_on_select_items_and_told(plan, measured):
    dola = {"layers": [0], "scores": "published", "plausibility": 0.0, "dose": 1}
    limit = {"select": 8, "test": 8}
    truth = {"truthfulqa": {"targets": {"truth": {"task": "factuality"}}}}

    store, _ = measured(
        plan(behaviours=truth, methods={"dola": dola}, limit=limit, guards={})
    )

    [trial] = summarise(store).trials
    assert [control.method for control in trial.controls] == ["length"]
    assert trial.verdict.label == "not judged"
    [unit] = store.units()
    [name] = [n for n in unit.names().rows(named=True) if n["control"] == "length"][:1]
    [fit] = [unit.fits()[fit] for fit in unit.fits() if fit == name["fit"]]
    assert b"offset" in fit
    assert make_of(unit, "dola") == DoLa(layers=(0,), scores="published", plausibility=0.0)


def make_of(unit, label):
    """The method that a stored fit says it is of."""
    from tempfile import NamedTemporaryFile

    from seatrial.methods import make_method

    names = unit.names().filter((pl.col("label") == label) & (pl.col("kind") == "method"))
    with NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(unit.fits()[names["fit"][0]])
        file.flush()
        origin = load(file.name).origin
    return make_method(origin.method, origin.options)
