"""Interventions on disk: tensors as safetensors, everything else in a JSON header."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seatrial.errors import BadFile, BadOption, StoreFault
from seatrial.files import write_whole
from seatrial.steering.edits import EDITS, Edit
from seatrial.steering.gate import Gate, check_words
from seatrial.steering.intervention import Intervention, Part
from seatrial.steering.prompt import PromptEdit
from seatrial.steering.readout import READOUTS, Readout
from seatrial.types import Message, Origin, Point, Site, Text

FORMAT = 4
"""Version of the file format; a file of another version is refused."""

_HEADER = (
    "format",
    "library",
    "tokens",
    "edits",
    "also",
    "gate",
    "prompt_edit",
    "readout",
    "origin",
)
_EMPTY = "empty"
"""safetensors wants at least one tensor, and a prompt edit has none."""


def save(intervention: Intervention, path: Path | str) -> None:
    """Write an intervention as safetensors with a JSON header.

    Raises:
        BadOption: for an edit or readout of a kind that is in no table.
        StoreFault: if the file cannot be written (disk full, no permission).
    """
    tensors: dict[str, Tensor] = {}
    header = {
        "format": FORMAT,
        "library": f"seatrial {version('seatrial')}",
        "tokens": intervention.tokens,
        "edits": _edits_header(intervention.edits, 0, tensors),
        "also": [
            {"tokens": part.tokens, "edits": _edits_header(part.edits, number, tensors)}
            for number, part in enumerate(intervention.also, 1)
        ],
        "gate": _gate_header(intervention.gate, tensors),
        "prompt_edit": asdict(intervention.prompt_edit)
        if intervention.prompt_edit
        else None,
        "readout": _readout_header(intervention.readout),
        "origin": asdict(intervention.origin) if intervention.origin else None,
    }
    content = tensors or {_EMPTY: torch.zeros(1)}
    metadata = {"seatrial": json.dumps(header, sort_keys=True)}
    path = Path(path)
    try:
        write_whole(path, lambda whole: save_file(content, whole, metadata))
    except (OSError, SafetensorError) as error:
        raise StoreFault(
            f"cannot write {path}: {error}; free space or choose another place"
        ) from error


def load(path: Path | str) -> Intervention:
    """Read what ``save`` wrote, exactly.

    Raises:
        BadFile: if the file is missing, corrupt, not ours, of another format version, or
            has unknown or missing fields or tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise BadFile(f"{path} does not exist; a steering is made with `seatrial fit`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies, because memory that is not aligned makes products round otherwise.
            tensors = {n: file.get_tensor(n).clone() for n in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadFile(
            f"{path} is no readable safetensors file ({error}); fit it again"
        ) from error
    if "seatrial" not in metadata:
        raise BadFile(
            f"{path} is a safetensors file, but no seatrial steering (its header lacks "
            "'seatrial'); make one with `seatrial fit`"
        )
    header = _header(path, metadata["seatrial"])
    try:
        return _intervention(header, tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"{path} lacks or misnames a part ({error}); fit it again") from error
    except BadOption as error:
        raise BadFile(
            f"{path} holds a value out of range ({error}); fit it again"
        ) from error


def load_several(files: Sequence[Path | str]) -> dict[str, Intervention]:
    """Read several saved interventions, by the names of their files.

    Names are those of ``names_of_files``.

    Raises:
        BadOption: for no file, or one that is named twice.
        BadFile: as ``load``.
    """
    if not files:
        raise BadOption("there is no file; name those that `seatrial fit` made")
    paths = [Path(file) for file in files]
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise BadOption(
                f"{path} is named twice; name it once, and give it another strength by a "
                "weight or by the dose"
            )
    return {
        name: load(path) for name, path in zip(names_of_files(files), paths, strict=True)
    }


def names_of_files(files: Sequence[Path | str]) -> list[str]:
    """Names of files without their ending, or paths where that leaves two alike."""
    stems = [Path(file).stem for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]


def _edits_header(
    edits: Mapping[Site, Edit], part: int, tensors: dict[str, Tensor]
) -> list[dict[str, object]]:
    """What is written about edits; their tensors are put among the others."""
    kinds = {kind: name for name, kind in EDITS.items()}
    listed: list[dict[str, object]] = []
    for number, (site, edit) in enumerate(edits.items()):
        if type(edit) not in kinds:
            raise BadOption(
                f"an edit of kind {type(edit).__name__!r} cannot be saved; the kinds "
                f"on disk are {', '.join(EDITS)}. Add yours to "
                "seatrial.steering.edits.EDITS"
            )
        listed.append({"layer": site.layer, "point": site.point, "kind": kinds[type(edit)]})
        for field in fields(edit):  # pyright: ignore[reportArgumentType]
            tensors[f"{part}.{number}.{field.name}"] = _whole(getattr(edit, field.name))
    return listed


def _gate_header(gate: Gate | None, tensors: dict[str, Tensor]) -> dict[str, object] | None:
    if gate is None:
        return None
    tensors["gate"] = _whole(gate.vector)
    return {
        "layer": gate.site.layer,
        "point": gate.site.point,
        "threshold": float(gate.threshold),
        "fires": gate.fires,
        "read": gate.read,
        "similarity": gate.similarity,
    }


def _whole(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own: views of one table share theirs."""
    return tensor.detach().cpu().contiguous().clone()


def _readout_header(readout: Readout | None) -> dict[str, object] | None:
    if readout is None:
        return None
    for name, kind in READOUTS.items():
        if type(readout) is kind:
            return {"kind": name, **asdict(readout)}
    raise BadOption(
        f"a readout of kind {type(readout).__name__!r} cannot be saved; the kinds on disk "
        f"are {', '.join(READOUTS)}. Add yours to seatrial.steering.readout.READOUTS"
    )


def _header(path: Path, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadFile(f"{path} has a broken header ({error}); fit it again") from error
    if not isinstance(header, dict):
        raise BadFile(f"{path} has a header that is no table of fields; fit it again")
    if header.get("format") != FORMAT:
        raise BadFile(
            f"{path} has format version {header.get('format')!r}, this seatrial reads "
            f"{FORMAT}; fit it again, or use the seatrial that wrote it "
            f"({header.get('library', 'unknown')})"
        )
    if odd := sorted(set(_HEADER) ^ set(header)):
        raise BadFile(
            f"{path} has unknown or missing header fields: {', '.join(odd)}; fit it again"
        )
    return header


def _intervention(header: dict[str, Any], tensors: dict[str, Tensor]) -> Intervention:
    """What a header and tensors say; each tensor is used once."""
    left = dict(tensors)
    left.pop(_EMPTY, None)
    edits = _edits(header["edits"], 0, left)
    also = tuple(
        Part(_edits(listed, number, left), tokens)
        for number, (tokens, listed) in enumerate(
            (_exactly(entry, "tokens", "edits") for entry in header["also"]), 1
        )
    )
    gate = _gate(header["gate"], left)
    if left:
        raise KeyError(f"unknown tensors: {', '.join(sorted(left))}")
    return Intervention(
        edits,
        header["tokens"],
        _prompt(header["prompt_edit"]) if header["prompt_edit"] else None,
        Origin(**header["origin"]) if header["origin"] else None,
        _readout(header["readout"]),
        also,
        gate,
    )


def _exactly(entry: dict[str, Any], *names: str) -> list[Any]:
    """The values of a table of the header that has these fields and no others."""
    if odd := sorted(set(names) ^ set(entry)):
        raise KeyError(f"unknown or missing: {', '.join(odd)}")
    return [entry[name] for name in names]


def _edits(listed: list[Any], part: int, tensors: dict[str, Tensor]) -> dict[Site, Edit]:
    edits: dict[Site, Edit] = {}
    for number, entry in enumerate(listed):
        layer, point, name = _exactly(entry, "layer", "point", "kind")
        kind = EDITS[name]
        values = {
            field.name: tensors.pop(f"{part}.{number}.{field.name}")
            for field in fields(kind)  # pyright: ignore[reportArgumentType]
        }
        edits[_site(layer, point)] = kind(**values)
    return edits


def _site(layer: Any, point: Any) -> Site:
    if type(layer) is not int or layer < 0 or point not in get_args(Point):
        raise BadOption(f"{layer!r}.{point} is no site")
    return Site(layer, point)


def _gate(entry: dict[str, Any] | None, tensors: dict[str, Tensor]) -> Gate | None:
    if entry is None:
        return None
    layer, point, threshold, *others = _exactly(
        entry, "layer", "point", "threshold", "fires", "read", "similarity"
    )
    if type(threshold) is not float:
        raise BadOption(f"{threshold!r} is no threshold")
    check_words(*others)
    vector = tensors.pop("gate")
    return Gate(_site(layer, point), vector, threshold, *others)


def _readout(entry: dict[str, Any] | None) -> Readout | None:
    if entry is None:
        return None
    options = dict(entry)
    kind = READOUTS[options.pop("kind")]
    _exactly(options, *(field.name for field in fields(kind)))
    options["layers"] = tuple(options["layers"])  # JSON knows lists only
    return kind(**options)


def _prompt(entry: dict[str, Any]) -> PromptEdit:
    """A prompt edit from what JSON makes of it."""
    encourage, discourage, positive, negative = _exactly(
        entry, "encourage", "discourage", "positive", "negative"
    )
    return PromptEdit(
        encourage,
        discourage,
        tuple(_text(*text) for text in positive),
        tuple(_text(*text) for text in negative),
    )


def _text(prompt: str | list, completion: str) -> Text:
    if isinstance(prompt, str):
        return Text(prompt, completion)
    return Text(tuple(Message(*message) for message in prompt), completion)
