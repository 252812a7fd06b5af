"""A method from outside works wherever ours do, and keeps the same promises."""

import json
import sys

import pytest

from seatrial import cli
from seatrial.errors import BadOption, UnknownName
from seatrial.methods import (
    CAA,
    METHODS,
    Random,
    Shuffled,
    all_methods,
    make_method,
    method_named,
    options_of,
)
from seatrial.report import make_report
from seatrial.steering import load
from seatrial.store import Store
from seatrial.studies.run import run
from seatrial.studies.study import read_study
from seatrial.testing import CHECKS, planted_concept, planted_model
from seatrial.types import Site

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from seatrial.methods import Layer, Method, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention


@dataclass(frozen=True)
class Push(Method):
    """The difference of means, times a number."""

    name: ClassVar[str] = "push"
    summary: ClassVar[str] = "add the difference of means, by a factor"
    paper: ClassVar[str] = "https://example.org/push"
    is_odd: ClassVar[bool] = True

    factor: float
    """Times what is added."""
    layer: Layer = "middle"
    """Whose output is edited."""

    def fit(self, model, data, *, seed):
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, "completion")
        vector = (positive.mean(0) - negative.mean(0)).float()
        origin = origin_of(self, model, data, seed)
        return Intervention({site: Add(self.factor * vector)}, "all", origin=origin)


@dataclass(frozen=True)
class Shove(Push):
    """Without a field that must be given."""

    name: ClassVar[str] = "shove"
    factor: float = 2.0


@dataclass(frozen=True)
class Beside(Method):
    """A control of theirs."""

    name: ClassVar[str] = "beside"
    summary: ClassVar[str] = "control: the same again"
    is_control: ClassVar[bool] = True

    reference: Method
    loudly: bool = False

    def fit(self, model, data, *, seed):
        return self.reference.fit(model, data, seed=seed)


@dataclass(frozen=True)
class Layered(Beside):
    name: ClassVar[str] = "layered"
    layer: Layer = 0


@dataclass(frozen=True)
class Seeded(Shove):
    name: ClassVar[str] = "seeded"
    seed: int = 0


@dataclass(frozen=True)
class NoFit(Method):
    name: ClassVar[str] = "x"
    summary: ClassVar[str] = "x"


class NoFields(Method):
    name: ClassVar[str] = "x"
    summary: ClassVar[str] = "x"

    def fit(self, model, data, *, seed):
        raise NotImplementedError


@dataclass
class Thawed(NoFields, Method):
    pass


@dataclass(frozen=True)
class NoName(Method):
    summary: ClassVar[str] = "x"

    def fit(self, model, data, *, seed):
        raise NotImplementedError


@dataclass(frozen=True)
class NoSummary(NoName):
    name: ClassVar[str] = "x"
    summary: ClassVar[str] = " "


@dataclass(frozen=True)
class Slash(Shove):
    name: ClassVar[str] = "a/b"


@dataclass(frozen=True)
class Odd(Shove):
    given: "Undefined" = 3


@dataclass(frozen=True)
class Vector(NoFields):
    given: Tensor
'''


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A module beside the user; what it holds is named ``theirs("Push")``."""
    (tmp_path / "methods_from_outside.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(cli.OUT, "width", 200)
    yield lambda name: f"methods_from_outside:{name}"
    sys.modules.pop("methods_from_outside", None)


@pytest.fixture
def installed(theirs, tmp_path, monkeypatch):
    """The module as a package with two entry points, one under a name of ours."""
    folder = tmp_path / "outside-1.0.dist-info"
    folder.mkdir()
    about = "Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n"
    (folder / "METADATA").write_text(about)
    lines = ["[seatrial.methods]", f"push = {theirs('Push')}", f"caa = {theirs('Shove')}"]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_dotted_name_is_built_from_plain_values_like_ours(theirs):
    method = make_method(theirs("Push"), {"factor": 3, "layer": 1})

    assert options_of(method) == {"name": "push", "factor": 3.0, "layer": 1}
    assert type(method) is method_named(theirs("Push"))


def test_an_entry_point_gives_it_a_name_and_ours_win(installed, capsys):
    assert method_named("push").__module__ == "methods_from_outside"
    assert method_named("caa") is CAA
    assert list(all_methods()) == [*METHODS, "push"]

    assert cli.main(["list", "methods"]) == 0

    out, _ = capsys.readouterr()
    assert "add the difference of means, by a factor" in out
    assert "caa" in out


def test_it_is_listed_by_its_dotted_name(theirs, capsys):
    assert cli.main(["list", "methods", theirs("Push"), "icv"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [theirs("Push"), "icv"]
    assert "add the difference of means, by a factor" in lines[0]


def test_its_options_are_flags_of_fit(theirs, capsys):
    assert cli.main(["fit", theirs("Push"), "--help"]) == 0

    out, _ = capsys.readouterr()
    assert "https://example.org/push" in out
    assert "Times what is added. (required)" in " ".join(out.split())
    assert "Whose output is edited." in out


def test_it_is_fitted_and_saved_on_the_command_line(theirs, tmp_path, capsys):
    data = ("--model", "tiny", "--concept", "formality", "--limit", "4", "--out", "v.st")

    codes = [
        cli.main(["fit", theirs("Push"), *data[:-1], f"{factor}.safetensors", *options])
        for factor, options in {
            "1": ("--factor", "1", "--layer", "2"),
            "3": ("--factor", "3", "--layer", "2"),
        }.items()
    ]

    assert codes == [0, 0]
    one, three = (load(tmp_path / f"{factor}.safetensors") for factor in (1, 3))
    assert one.origin.method == "push"
    assert three.norms() == pytest.approx({Site(2): 3 * one.norms()[Site(2)]})
    assert cli.main(["fit", theirs("Push"), *data]) == 2
    assert "--factor" in capsys.readouterr().err


def test_controls_of_ours_stand_beside_it_and_its_own_beside_ours(theirs, capsys):
    beside = make_method("shuffled", {"reference": {"name": theirs("Push"), "factor": 2}})
    own = make_method(theirs("Beside"), {"reference": CAA(layer=1)})

    assert beside == Shuffled(method_named(theirs("Push"))(2.0))
    assert own.reference == CAA(layer=1)
    for name, of, option in (
        ("random", theirs("Push"), "--factor"),
        (theirs("Beside"), "caa", "--loudly"),
    ):
        assert cli.main(["fit", name, "--of", of, "--help"]) == 0
        assert option in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(check, theirs, tiny, example):
    method = make_method(theirs("Push"), {"factor": 1.5, "layer": 1})

    CHECKS[check](method, tiny("llama"), example)


def test_a_study_runs_and_reports_it(theirs, tmp_path):
    network = planted_model()[0]
    network.engine.network.save_pretrained(tmp_path / "model")
    network.encoder.tokenizer.save_pretrained(tmp_path / "model")
    concept = planted_concept(tmp_path / "planted.jsonl", groups=12)
    study = read_study(
        {
            "name": "outside",
            "models": {"planted": {"name": str(tmp_path / "model")}},
            "behaviours": {"planted": {"source": str(concept), "targets": ["open"]}},
            "methods": {"push": {"name": theirs("Push"), "factor": 1.0}},
            "choose": {"layer": [0, 1]},
            "doses": [-1, 1],
            "controls": {"random": 3, "shuffled": 2},
            "limit": {"select": 8, "test": 12},
            "guards": {"prose": {"limit": 3}},
        }
    )
    store = Store(tmp_path / "results")

    run(study, store)

    report = make_report(store)
    [trial] = json.loads(report.json)["trials"]
    assert (trial["label"], trial["verdict"]["label"]) == ("push", "works")
    assert "1 trial of push works" in repr(report)


def test_the_reference_of_a_control_is_a_method_or_plain_values():
    caa = CAA(layer=1)

    assert make_method("random", {"reference": caa}) == Random(caa)
    assert make_method("random", {"reference": "caa"}) == Random(CAA())
    plain = options_of(Shuffled(caa, rescale=False))
    assert make_method(plain.pop("name"), plain) == Shuffled(caa, rescale=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "^method 'random': the key 'reference' is missing; give it a value$"),
        (
            {"reference": 3},
            "^method 'random': reference must be a method, its name, or a table with its "
            "name and options, not 3$",
        ),
        ({"reference": {"layer": 1}}, "or a table with its name and options, not {'layer'"),
        ({"reference": {"name": "caa", "lair": 1}}, "method 'caa' has no option 'lair'"),
    ],
)
def test_a_reference_that_is_none_is_refused(options, words):
    with pytest.raises(BadOption, match=words):
        make_method("random", options)


def test_what_a_class_says_of_itself_is_no_option():
    with pytest.raises(
        BadOption,
        match=r"^method 'caa' has no option 'summary'; its options: layer, read, tokens$",
    ):
        make_method("caa", {"summary": "mine"})
    with pytest.raises(UnknownName, match=r"unknown method 'cea'; known: .* mean 'caa'"):
        make_method("cea", {})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoFit", "has no fit; define it in its class"),
        (
            "NoFields",
            r"is no frozen dataclass; put @dataclass\(frozen=True\) above its class, so "
            "that its fields are its options",
        ),
        ("Thawed", "is no frozen dataclass"),
        ("NoName", 'has no name; write `name: ClassVar\\[str\\] = "..."` in its class'),
        ("NoSummary", "has no summary; write `summary: ClassVar"),
        (
            "Slash",
            "is called 'a/b', and files of what is fitted are named after it; use letters, "
            "digits, dots, dashes and underscores",
        ),
    ],
)
def test_a_class_that_does_not_say_what_it_must_is_refused(name, words, theirs, capsys):
    with pytest.raises(BadOption, match=f"^the method '{theirs(name)}' {words}"):
        method_named(theirs(name))

    assert cli.main(["fit", theirs(name), "--concept", "formality", "--out", "x"]) == 2
    assert f"seatrial: the method '{theirs(name)}' " in capsys.readouterr().err


@pytest.mark.parametrize(("name", "flag"), [("Layered", "layer"), ("Seeded", "seed")])
def test_two_options_of_one_flag_are_refused_by_fit_alone(name, flag, theirs, capsys):
    assert cli.main(["fit", theirs(name), "--help"]) == 2

    assert (
        f"method {theirs(name)!r} cannot be fitted on the command line, where {flag!r} "
        "would mean two things; rename that option, or fit it in Python"
    ) in " ".join(capsys.readouterr().err.split())
    assert method_named(theirs(name)).summary


def test_options_that_cannot_be_read_are_refused(theirs, capsys):
    with pytest.raises(
        BadOption,
        match=r"^method '.*:Odd': the types of its options cannot be read "
        r"\(.*not fully defined.*\); give each field a type that its module defines$",
    ):
        make_method(theirs("Odd"), {})
    with pytest.raises(BadOption, match=r"given.*: input should be an instance of Tensor"):
        make_method(theirs("Vector"), {"given": [1.0]})
    flags = ["--concept", "formality", "--out", "x"]
    assert cli.main(["fit", theirs("Vector"), *flags]) == 2
    assert "given" in capsys.readouterr().err
