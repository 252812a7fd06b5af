"""Classes from outside: found by a dotted name or an entry point, or refused in a line."""

import sys

import pytest

from seatrial.errors import BadOption, UnknownName
from seatrial.extensions import find, table


class Boat:
    """What extensions inherit here."""


class Canoe(Boat):
    """One that ships."""


OURS = {"canoe": Canoe}

MODULE = """
from tests_boat import Boat


class Raft(Boat):
    class Small(Boat):
        pass


class Canoe(Boat):
    pass


class Swimmer:
    pass


number = 3
"""

BROKEN = {
    "boats_that_raise": "raise RuntimeError('no water.\\nNone at all.')",
    "boats_that_leave": "import sys; sys.exit(3)",
    "boats_not_python": "class",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with modules in it that Python does not look for there."""
    (tmp_path / "boats.py").write_text(MODULE)
    for name, text in BROKEN.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setitem(sys.modules, "tests_boat", sys.modules[__name__])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in ("boats", *BROKEN):
        sys.modules.pop(name, None)


@pytest.fixture
def install(here, monkeypatch):
    """Leave a package with entry points on the path, as pip would."""

    def write(**points):
        folder = here / "fleet-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: fleet\nVersion: 1.0\n"
        )
        lines = [f"{name} = {value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[seatrial.boats]", *lines]))
        monkeypatch.syspath_prepend(str(here))

    return write


def named(name):
    return find("boat", name, OURS, Boat)


def test_ours_are_found_by_name():
    assert named("canoe") is Canoe


def test_a_module_in_the_current_folder_can_be_named(here):
    paths = list(sys.path)

    raft = named("boats:Raft")

    assert (raft.__module__, raft.__name__) == ("boats", "Raft")
    assert named("boats:Raft.Small") is raft.Small
    assert sys.path == paths


def test_an_entry_point_gives_a_name(install):
    install(raft="boats:Raft", tiny="boats:Raft.Small")

    assert named("raft").__name__ == "Raft"
    assert list(table("boat", OURS, Boat)) == ["canoe", "raft", "tiny"]
    assert table("boat", OURS, Boat)["tiny"] is named("boats:Raft.Small")


def test_ours_win_over_an_installed_one_of_the_same_name(install):
    install(canoe="boats:Canoe")

    assert named("canoe") is Canoe
    assert table("boat", OURS, Boat) == OURS
    assert named("boats:Canoe") is not Canoe


def test_an_unknown_name_is_refused_with_all_that_there_are(install):
    install(raft="boats:Raft")

    with pytest.raises(
        UnknownName,
        match=r"^unknown boat 'rafd'; known: canoe, raft, or a dotted name such as "
        r"package\.module:Class\. Did you mean 'raft'\?$",
    ):
        named("rafd")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere_at_all:Raft", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("boats:Galley", "AttributeError: module 'boats' has no attribute 'Galley'"),
        ("boats:", "AttributeError: module 'boats' has no attribute ''"),
        (":Raft", "ValueError: Empty module name"),
        ("boats_that_raise:Raft", "RuntimeError: no water"),
        ("boats_that_leave:Raft", "SystemExit: 3"),
        ("boats_not_python:Raft", r"SyntaxError: invalid syntax \(boats_not_python.py.*\)"),
    ],
)
def test_what_cannot_be_imported_says_why_in_one_sentence(name, reason, here):
    paths = list(sys.path)

    with pytest.raises(
        BadOption,
        match=rf"^the boat '{name}' cannot be imported \({reason}\); write module:Class, "
        "of a module that is installed or lies in this folder$",
    ):
        named(name)
    assert sys.path == paths


def test_an_installed_one_that_cannot_be_imported_names_its_package(install):
    install(raft="boats_that_raise:Raft")
    words = (
        r"^the installed boat 'raft' cannot be imported \(RuntimeError: no water\); "
        "mend or uninstall fleet$"
    )

    with pytest.raises(BadOption, match=words):
        named("raft")
    with pytest.raises(BadOption, match=words):
        table("boat", OURS, Boat)


@pytest.mark.parametrize(
    ("name", "thing"),
    [("boats:number", "3"), ("boats:Swimmer", "<class 'boats.Swimmer'>")],
)
def test_what_is_none_of_these_is_refused(name, thing, here):
    with pytest.raises(
        BadOption,
        match=rf"^'{name}' is no boat: it must be a class that inherits "
        rf"{__name__}\.Boat, and is {thing}$",
    ):
        named(name)


def test_an_installed_one_that_is_none_of_these_is_refused(install):
    install(raft="boats:number")

    with pytest.raises(BadOption, match=r"^'raft' is no boat: it must be a class that"):
        named("raft")
