"""The table of small models is complete."""

from seatrial.model.load.small_models import MODELS


def test_registered_checksums_are_whole():
    for model in MODELS.values():
        assert all(
            len(sha) == 64 for sha in (model.gguf_sha256, *(w.sha256 for w in model.wheels))
        )
