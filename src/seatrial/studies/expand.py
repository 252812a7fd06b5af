"""Axes: a table of values becomes all of its combinations, each with a label.

``grid`` and ``choose`` of targets and methods are expanded here, and numbers that mean a
share of a model (of its depth, of its heads) become numbers of that model. So are lists of
sources, which make one behaviour each.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil, prod
from typing import Any, NamedTuple

from seatrial.data.sources import find_datasets
from seatrial.errors import BadOption
from seatrial.studies.grammar import brief, is_spread, label_of

MOST_POINTS = 10_000
"""A table with more combinations is a mistake: it could never be measured."""

LAYERS = ("layer", "layers")
"""Options whose floats are shares of a model's depth."""


class Shape(NamedTuple):
    """What a share is a share of."""

    n_layers: int
    """Decoder blocks."""
    n_heads: int
    """Attention heads of all blocks together."""


class GridPoint(NamedTuple):
    """One combination of the values of a table."""

    label: str
    """Such as ``write=residual template=qa``; empty where the table is empty."""
    values: dict[str, Any]


def expand(axes: Mapping[str, Any], shape: Shape) -> list[GridPoint]:
    """All combinations of a table of lists, in the order of its keys and values.

    Args:
        axes: by option, its values: a list, or for layers a spread. A single value is a
            list of one.
        shape: of the model, for shares and spreads.

    Raises:
        BadOption: as ``columns_of``.
    """
    columns = columns_of(axes, shape)
    return [
        GridPoint(
            " ".join(f"{name}={shown(value)}" for name, value in values.items()), values
        )
        for combination in product(*columns.values())
        for values in [dict(zip(columns, combination, strict=True))]
    ]


def columns_of(axes: Mapping[str, Any], shape: Shape) -> dict[str, list[Any]]:
    """The values of every axis, as numbers of the model.

    Raises:
        BadOption: for an axis without values or one that names a value twice, a share or
            spread that is none, or more combinations than could be measured.
    """
    columns = {name: axis_values(name, values, shape) for name, values in axes.items()}
    number = prod(map(len, columns.values()))
    if number > MOST_POINTS:
        raise BadOption(
            f"{', '.join(columns)} have {number:,} combinations; list fewer values, for "
            f"at most {MOST_POINTS:,}"
        )
    return columns


def axis_values(name: str, values: Any, shape: Shape) -> list[Any]:
    """The values of one axis, as numbers of the model.

    Raises:
        BadOption: as ``columns_of``.
    """
    if is_spread(values):
        if name != "layer":
            raise BadOption(f"{name} is {brief(values)}, which spreads layers; list values")
        return list(spread(values, shape.n_layers))
    listed = list(values) if isinstance(values, list | tuple) else [values]
    if not listed:
        raise BadOption(f"{name} has no value to try; list at least one")
    # A value written twice is a mistake: 1 and 1.0 are one dose, but two numbers of heads.
    keys = [(_is_share(name, value), shown(value)) for value in listed]
    if len(set(keys)) < len(keys):
        raise BadOption(f"{name} lists a value twice: {', '.join(map(shown, listed))}")
    # Shares that round to one layer are one candidate.
    resolved = [resolve(name, value, shape) for value in listed]
    return list({shown(value): value for value in resolved}.values())


def resolve(name: str, value: Any, shape: Shape) -> Any:
    """A value of an option as the model has it: shares of its depth or heads as numbers.

    An integer is a number and a float a share: of depth ``round(f * (n_layers - 1))``, of
    heads ``ceil(f * n_heads)``. Other options stay as they are.

    Raises:
        BadOption: for a share outside 0 to 1, or of no head at all.
    """
    if name in LAYERS and isinstance(value, list | tuple):
        return [resolve("layer", each, shape) for each in value]
    if not _is_share(name, value):
        return value
    least = value > 0 if name == "heads" else value >= 0
    if not (least and value <= 1):
        lowest = "above 0" if name == "heads" else "from 0"
        raise BadOption(
            f"{name} = {value} is no share; write one {lowest} to 1, or a number without a "
            "point"
        )
    if name == "heads":
        # Rounded first: 0.07 x 100 is 7.000000000000001, and means seven heads.
        return ceil(round(value * shape.n_heads, 6))
    return round(value * (shape.n_layers - 1))


def spread(table: Mapping[str, Any], n_layers: int) -> list[int]:
    """The layers of ``{ evenly = 6 }``, between the ends, or of ``{ every = 2 }``.

    ``evenly`` divides the depth into equal parts and takes the layers where they meet,
    neither the first nor the last; of a model with fewer layers all that lie between.

    Raises:
        BadOption: for a number below 1.
    """
    [(kind, number)] = table.items()
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise BadOption(
            f"{{ {kind} = {brief(number)} }} is no spread; write a number from 1 on"
        )
    if kind == "every":
        return list(range(0, n_layers, number))
    number = min(number, max(n_layers - 2, 1))
    parts = [round(k * (n_layers - 1) / (number + 1)) for k in range(1, number + 1)]
    return sorted(set(parts))


def sources_of(label: str, source: str | Sequence[str]) -> dict[str, str]:
    """The behaviours that an entry makes: label -> source.

    A list of sources, or a family (``persona`` is all of its sets), makes one behaviour
    each, labelled by its source; one source alone has the label of the entry.

    Raises:
        BadOption: for a list that is empty or names a label twice.
    """
    is_list = not isinstance(source, str)
    named = list(source) if is_list else [source]
    sets = [each for name in named for each in _sets_of(name)]
    if not sets:
        raise BadOption(f"behaviours, {label}: source lists nothing; name at least one")
    if not is_list and len(sets) == 1:
        return {label: sets[0]}
    labelled: dict[str, str] = {}
    for each in sets:
        own = label_of(each)
        if own in labelled:
            raise BadOption(
                f"two behaviours are labelled {own!r} ({labelled[own]} and {each}); name "
                "each source once, and give files of one name a table with a label each"
            )
        labelled[own] = each
    return labelled


def shown(value: Any) -> str:
    """A value as labels show it: different values look different."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    text = str(value)
    is_plain = isinstance(value, int) or re.fullmatch(r"[^\s=,\[\]\"]+", text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _is_share(name: str, value: Any) -> bool:
    return isinstance(value, float) and name in (*LAYERS, "heads")


def _sets_of(name: str) -> list[str]:
    """The sets of a family; else the source itself."""
    return [each.name for each in find_datasets(name)] or [name]
