"""What the wheel holds: not code alone, but all that the code reads."""

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def packed():
    """Paths inside the wheel."""
    return {
        file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()
    }


def test_the_wheel_holds_every_file_of_the_package(packed):
    package = ROOT / "src" / "seatrial"
    files = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }

    assert files <= packed


@pytest.mark.parametrize(
    "name",
    [
        "data/items/honesty.jsonl",
        "data/items/maps/antonym.jsonl",
        "data/sources/files.csv",
        "data/sources/about.toml",
        "studies/builtin/quickstart.toml",
    ],
)
def test_the_wheel_holds_what_is_read(name, packed):
    assert f"seatrial/{name}" in packed


def test_the_wheel_holds_nothing_else(packed):
    assert {path.split("/")[0] for path in packed} == {"seatrial"}
