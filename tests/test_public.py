"""The public surface: what ``import seatrial`` promises, and that it is quick."""

import subprocess
import sys

import pytest

import seatrial
from seatrial.studies.run import run

NAMES = [
    "CAA",
    "METHODS",
    "TASKS",
    "UNSTEERED",
    "Estimate",
    "FitData",
    "Intervention",
    "Message",
    "Method",
    "Model",
    "Pair",
    "Instruction",
    "Random",
    "Request",
    "SeatrialError",
    "Shuffled",
    "Site",
    "Steering",
    "Store",
    "Study",
    "Text",
    "load_concept",
    "make_report",
    "make_study",
    "read_study",
    "run_study",
]


def test_the_public_names_are_these():
    assert seatrial.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_described(name):
    found = getattr(seatrial, name)

    assert name in dir(seatrial)
    assert (name.isupper() and name != "CAA") or found.__doc__


def test_the_verbs_are_the_functions_of_the_modules_of_that_name():
    from seatrial.report import make_report

    assert (seatrial.run_study, seatrial.make_report) == (run, make_report)


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
