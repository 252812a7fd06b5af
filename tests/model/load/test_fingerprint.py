"""Fingerprints follow the weights and nothing else."""

import torch

from seatrial.model.load.fingerprint import fingerprint_of_files, fingerprint_of_parameters
from seatrial.model.load.load import load_weights
from seatrial.model.load.locate import locate


def test_fingerprint_of_a_large_file_sees_an_edited_matrix(tmp_path):
    file = tmp_path / "model.safetensors"
    content = bytearray(64 << 20)
    file.write_bytes(content)
    before = fingerprint_of_files([file])
    content[40 << 20 : (40 << 20) + (256 << 10)] = b"1" * (256 << 10)
    file.write_bytes(content)

    assert fingerprint_of_files([file]) != before


def test_fingerprint_does_not_depend_on_the_order_of_files(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)

    assert fingerprint_of_files(files) == fingerprint_of_files(files[::-1])


def test_fingerprint_of_parameters_follows_the_weights(folder):
    model, _, _ = load_weights(locate(str(folder)))
    before = fingerprint_of_parameters(model)
    again = fingerprint_of_parameters(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.add_(0.1)

    assert before == again
    assert fingerprint_of_parameters(model) != before
