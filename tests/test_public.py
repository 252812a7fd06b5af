"""The public surface: what ``import seatrial`` promises, and that it is quick."""

import pkgutil
import subprocess
import sys

import pytest

import seatrial

NAMES = [
    "METHODS",
    "TASKS",
    "UNSTEERED",
    "Add",
    "Edit",
    "Estimate",
    "Intervention",
    "Message",
    "Method",
    "Model",
    "Pair",
    "Request",
    "SeatrialError",
    "Site",
    "Steering",
    "Store",
    "Study",
    "Task",
    "Text",
    "load",
    "make_report",
    "measure",
    "read_study",
    "run",
    "save",
]


def test_the_public_names_are_these():
    assert seatrial.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_described(name):
    value = getattr(seatrial, name)

    assert name in dir(seatrial)
    assert name.isupper() or value.__doc__


def test_no_function_has_the_name_of_a_package():
    packages = {module.name for module in pkgutil.iter_modules(seatrial.__path__)}

    assert packages.isdisjoint(NAMES)


def test_a_name_that_is_not_there_is_said():
    with pytest.raises(AttributeError, match="module 'seatrial' has no attribute 'steer'"):
        seatrial.steer  # noqa: B018


def test_importing_the_package_and_its_command_line_loads_no_torch():
    code = (
        "import sys, seatrial, seatrial.cli\n"
        "print({'torch', 'transformers', 'polars'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
