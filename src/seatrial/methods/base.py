"""What a method is: hyperparameters as fields, and one verb.

Numbered traps are those of docs/hazards.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields, is_dataclass, replace
from math import hypot
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor

from seatrial.errors import BadData
from seatrial.model import Model
from seatrial.steering.compare import STATE_NORMS
from seatrial.steering.edits import Add, Edit
from seatrial.steering.intervention import Intervention
from seatrial.types import DataOf, FitData, Origin, Site

Layer = int | Literal["first", "middle", "last"]

Need = Literal["pairs", "examples", "instructions"]
"""What data can hold: pairs, examples of a map, instructions for and against."""

_ROUNDING = 1e-6
"""A vector this much shorter than what it stands beside is what rounding left of 0."""


class Method(ABC):
    """A way to steer: a frozen dataclass whose fields are its hyperparameters.

    Controls are methods too and keep the same promises (``seatrial.testing.CHECKS``).
    """

    # So that a plan can give a control its reference, which is a method.
    __pydantic_config__: ClassVar[ConfigDict] = {"arbitrary_types_allowed": True}

    name: ClassVar[str]
    """What users type."""
    summary: ClassVar[str]
    """One honest line for `seatrial list methods`."""
    paper: ClassVar[str] = ""
    version: ClassVar[int] = 1
    """Raised whenever a change could move a number; part of the name of every fit."""
    is_control: ClassVar[bool] = False
    """Whether it is there to be beaten."""
    is_odd: ClassVar[bool] = False
    """Whether swapping positive and negative flips its sign."""
    doses: ClassVar[tuple[float, ...] | None] = None
    """The only doses it has, or ``None`` for all."""
    changes: ClassVar[Literal["activations", "prompt", "readout"]] = "activations"
    """What it changes: only activations have directions that can be drawn at random."""
    needs: ClassVar[tuple[Need, ...]] = ("pairs",)
    """What it is fitted on: any one of these will do, and where none is named, no data. A
    control needs what the method needs that it stands beside (``needs_of``)."""

    @property
    def reads_labels(self) -> bool:
        """Whether other labels (sides of pairs, outputs of a map) give another direction.

        Only then is a fit on shuffled labels a control: elsewhere it is the method itself,
        or its opposite where labels give no more than a sign. Controls have nothing to
        lose. It may depend on the options.
        """
        return not self.is_control

    def references(self, data: FitData) -> Mapping[str, DataOf]:
        """Which other data it reads beside these, by the key to find them in ``others``.

        Whoever fits fills them in (``seatrial.tasks.others.with_others``). Unless a method
        says otherwise there are none; a control asks for what its method asks for.
        """
        reference = getattr(self, "reference", None)
        return reference.references(data) if isinstance(reference, Method) else {}

    def misfit(self, data: FitData) -> str | None:
        """Why it cannot be fitted on these data, in a sentence; ``None`` where it can."""
        reference = getattr(self, "reference", None)
        if isinstance(reference, Method):
            return reference.misfit(data)
        return lacking(self.name, self.needs, data)

    @abstractmethod
    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        """Make an intervention from the fit split; the model is left as it was.

        Raises:
            BadData: with the sentence of ``misfit`` (``check_fits``), and where the data
                show nothing to fit.
        """


def needs_of(method: Method) -> tuple[Need, ...]:
    """What a method, or what a control stands beside, is fitted on: any one of these."""
    reference = getattr(method, "reference", None)
    return needs_of(reference) if isinstance(reference, Method) else method.needs


def lacking(name: str, needs: Sequence[Need], data: FitData) -> str | None:
    """Which sentence refuses the data, if they have nothing that a method needs.

    Args:
        name: of the method.
        needs: of which any one will do.
        data: of one concept or map.
    """
    has: dict[Need, bool] = {
        "pairs": bool(data.pairs),
        "examples": bool(data.examples),
        "instructions": bool(data.encourage.strip() and data.discourage.strip()),
    }
    if not needs or any(has[need] for need in needs):
        return None
    match needs[0]:
        case "pairs":
            return (
                f"{name!r} learns from pairs, and {data.concept!r} has none; give at least "
                "one positive and negative text"
            )
        case "examples":
            return (
                f"{name!r} learns from the examples of a map, and {data.concept!r} has "
                "none; fit it on the task 'map', such as country-capital"
            )
        case "instructions":
            return (
                f"{name!r} needs instructions, and concept {data.concept!r} has no "
                "instruction for and against the behaviour; give your own as options of "
                'the method, or add a line {"concept": {"encourage": ..., "discourage": '
                "...}} to its file"
            )


def check_fits(method: Method, data: FitData) -> None:
    """Refuse data that lack what a method needs.

    Raises:
        BadData: with the sentence of ``misfit``.
    """
    if reason := method.misfit(data):
        raise BadData(reason)


def other_data(method: Method, data: FitData, key: str) -> FitData:
    """The data that a method has asked for under a key of its ``references``.

    Raises:
        BadData: if whoever made the data has not filled them in.
    """
    if key not in data.others:
        source = method.references(data)[key].source or "the next concept or map"
        raise BadData(
            f"{method.name!r} reads {source!r} beside {data.concept!r}, and these data do "
            "not hold it; fill it in: with_others(data, method.references(data), seed=0) "
            "of seatrial.tasks.others"
        )
    return data.others[key]


def later(default: Any) -> Any:
    """A field that a method did not always have: cells are named without its default.

    So cells that were stored before keep their names, and are not measured again.
    """
    return field(default=default, metadata={"later": True})


def place() -> Any:
    """A field that says where something lies, whose content another field names."""
    return field(metadata={"place": True})


def options_of(method: Method, *, brief: bool = False) -> dict[str, Any]:
    """A method's name and hyperparameters as plain values, nested methods included.

    Args:
        method: fitted or not.
        brief: as fits are named: with versions, without places and defaults of ``later``
            fields.
    """
    assert is_dataclass(method)
    plain: dict[str, Any] = {"name": method.name}
    if brief:
        plain["version"] = method.version
    for part in fields(method):
        value = getattr(method, part.name)
        is_default = "later" in part.metadata and value == part.default
        if brief and (is_default or "place" in part.metadata):
            continue
        is_method = isinstance(value, Method)
        plain[part.name] = options_of(value, brief=brief) if is_method else value
    return plain


def origin_of(
    method: Method,
    model: Model,
    data: FitData,
    seed: int,
    facts: Mapping[str, object] | None = None,
) -> Origin:
    """The record of where a fitted intervention comes from.

    Args:
        method: as it was asked for.
        model: what it was fitted on.
        data: what it was fitted to.
        seed: of the fit.
        facts: what the fit has found out, kept beside the options: plain values by name.
    """
    options = options_of(method)
    name = options.pop("name")
    options |= facts or {}
    return Origin(model.identity, model.d_model, name, options, data.fingerprint, seed)


def state_norms(read: Mapping[Site, Sequence[Tensor]]) -> dict[str, object]:
    """How long the states are that vectors are added to, for the origin.

    A length says little without it (trap T33). It is kept rather than the ratio of both,
    which would be wrong as soon as a vector is given another length (``rescaled``).

    Args:
        read: by site, the states that were read there: ``state width`` each.
    """
    means = {
        str(site): torch.cat(list(states)).double().norm(dim=-1).mean()
        for site, states in read.items()
    }
    # Six digits, so that the order in which texts were read cannot be seen.
    return {STATE_NORMS: {site: float(f"{mean:.6g}") for site, mean in means.items()}}


def recorded_norms(fitted: Intervention) -> dict[str, object]:
    """The same of what was fitted already, for a control that stands in its place."""
    options = fitted.origin.options if fitted.origin else {}
    return {name: options[name] for name in (STATE_NORMS,) if name in options}


def has_one_layer(kind: type[Method]) -> bool:
    """Whether there is one layer to choose: a field ``layer`` whose default is not all."""
    assert is_dataclass(kind)
    layers = [field.default for field in fields(kind) if field.name == "layer"]
    return bool(layers) and layers[0] != "all"


def doses_of(method: Method) -> tuple[float, ...] | None:
    """The only doses that a method, or what a control stands beside, has; else ``None``."""
    reference = getattr(method, "reference", None)
    return doses_of(reference) if isinstance(reference, Method) else method.doses


def heads_at(model: Model, site: Site) -> int:
    """How many attention heads lie side by side at a site; elsewhere 1."""
    return model.heads_in(site.layer) if site.point == "heads" else 1


def with_edits(fitted: Intervention, change: Callable[[Site, Edit], Edit]) -> Intervention:
    """The same intervention with every edit of activations changed, in order."""

    def changed(edits: Mapping[Site, Edit]) -> dict[Site, Edit]:
        return {site: change(site, edit) for site, edit in edits.items()}

    edits = changed(fitted.edits)
    also = tuple(replace(part, edits=changed(part.edits)) for part in fitted.also)
    return replace(fitted, edits=edits, also=also)


def rescaled(fitted: Intervention, goal: Intervention, complaint: str) -> Intervention:
    """Give the vectors that an intervention adds the length of another one's.

    Site by site; where the two add at different sites (a method that chooses its heads),
    all vectors are scaled alike, so that together they are as long. Edits of other kinds
    have no length and stay as they are.

    Args:
        fitted: what is scaled.
        goal: has the lengths.
        complaint: what is wrong, and what to do, if nothing is left to scale; holds {site}.

    Raises:
        BadData: with the complaint.
    """
    norms, goals = fitted.norms(), goal.norms()
    if not (norms and goals):
        return fitted
    if set(norms) != set(goals):
        goals = dict.fromkeys(norms, hypot(*goals.values()))
        norms = dict.fromkeys(norms, hypot(*norms.values()))

    def change(site: Site, edit: Edit) -> Edit:
        if not isinstance(edit, Add):
            return edit
        if norms[site] <= _ROUNDING * goals[site]:
            raise BadData(complaint.replace("{site}", str(site)))
        return Add(edit.vector * (goals[site] / norms[site]))

    return with_edits(fitted, change)
