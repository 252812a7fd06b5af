"""A name means one set of weights, or the message says which names would do."""

import pytest

from seatrial import errors
from seatrial.model.load.locate import locate


def test_unknown_name_lists_the_registered_ones():
    with pytest.raises(
        errors.UnknownName, match=r"gemma3-270m, smollm2-135m, tiny\. Did you mean"
    ):
        locate("gemma-270m")


def test_missing_folder_lists_what_would_do(tmp_path):
    with pytest.raises(
        errors.UnknownName, match=r"does not exist; .* gemma3-270m, smollm2-135m"
    ):
        locate(str(tmp_path / "nowhere"))


def test_missing_gguf_file_is_no_hub_id():
    with pytest.raises(errors.UnknownName, match=r"'models/tiny.gguf' does not exist"):
        locate("models/tiny.gguf")


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(errors.BadFile, match=r"holds no config\.json"):
        locate(str(tmp_path))


def test_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "weights.bin").touch()

    with pytest.raises(
        errors.BadFile, match=r"no model; give a folder with config.json or a .gg"
    ):
        locate(str(tmp_path / "weights.bin"))


def test_pickled_weights_are_refused(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")

    with pytest.raises(
        errors.BadFile, match=r"pickled weights only \(pytorch_model\.bin\)"
    ):
        locate(str(copy))


def test_folder_without_weights_is_refused(copy):
    (copy / "model.safetensors").unlink()

    with pytest.raises(errors.BadFile, match=r"config\.json but no \*\.safetensors"):
        locate(str(copy))


def test_revision_of_a_local_folder_is_refused(folder):
    with pytest.raises(errors.BadOption, match=r"revision 'main' means nothing for"):
        locate(str(folder), revision="main")
