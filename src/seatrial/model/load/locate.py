"""Finds the weights that a name means: registered, in a folder, a GGUF file, on the hub."""

import os
import re
from pathlib import Path

from seatrial.errors import BadFile, BadOption, UnknownName, unknown
from seatrial.model.load.hub import snapshot
from seatrial.model.load.pull import Source, pull, pulled
from seatrial.model.load.small_models import MODELS, TINY

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def locate(name: str, *, revision: str | None = None, cache: Path | None = None) -> Source:
    """Find the weights that a name means, and fetch them if they are not on this disk.

    Args:
        name: A key of ``MODELS``, a folder with config.json and safetensors, a .gguf file,
            or a hub id ("owner/name").
        revision: Commit, tag or branch; for hub ids only.
        cache: The folder of pulled models, if not the default one.
    """
    path = Path(name).expanduser()
    is_here = name in MODELS or path.exists()
    if revision is not None and (is_here or not HUB_ID.fullmatch(name)):
        raise BadOption(
            f"revision {revision!r} means nothing for {name!r}; only a hub id such as "
            f"'HuggingFaceTB/SmolLM2-135M' has revisions."
        )
    if name in MODELS:
        return pull(name, cache=cache)
    if path.is_dir():
        return in_folder(path)
    if path.is_file():
        if path.suffix != ".gguf":
            raise BadFile(
                f"{path} is no model; give a folder with config.json or a .gguf file."
            )
        return Source(path.stem, path.resolve(), "gguf")
    if HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        folder, commit = snapshot(name, revision)
        weights_of(folder)
        return Source(name, folder, f"hub:{name}@{commit}")
    if os.sep in name or name.startswith(("~", ".")) or path.suffix == ".gguf":
        raise UnknownName(
            f"{name!r} does not exist; give an existing folder or .gguf file, a hub id "
            "like 'owner/name', or a registered model: "
            f"{', '.join(sorted([*MODELS, TINY]))}."
        )
    hint = "A folder, a .gguf file or a hub id such as 'owner/name' will do as well."
    raise UnknownName(f"{unknown('model', name, [*MODELS, TINY])} {hint}")


def in_folder(folder: Path) -> Source:
    """The source that a local folder is; one that ``pull`` has made keeps its name."""
    weights_of(folder)
    if (folder / "seatrial.json").is_file():
        return pulled(folder.resolve())
    return Source(folder.resolve().name, folder.resolve(), "folder")


def weights_of(path: Path) -> list[Path]:
    """The weight files of a .gguf file or of a folder that can be loaded safely."""
    if path.is_file():
        return [path]
    if not (path / "config.json").is_file():
        raise BadFile(
            f"{path} holds no config.json, so transformers cannot read it as a model."
        )
    weights = sorted(path.glob("*.safetensors"))
    if weights:
        return weights
    pickles = [
        f.name for f in path.iterdir() if f.suffix in (".bin", ".pt", ".pth", ".ckpt")
    ]
    if pickles:
        raise BadFile(
            f"{path} holds pickled weights only ({min(pickles)}), and loading a pickle "
            f"runs any code that is in it; convert them to safetensors where that is safe."
        )
    raise BadFile(f"{path} holds a config.json but no *.safetensors weights.")
