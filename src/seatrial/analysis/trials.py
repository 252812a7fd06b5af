"""From a run folder to trials: the rows of each, its choices, and what they come to.

A trial is model x behaviour x target x label. It has one choice for each seed; seeds share
the test items, so their values are averaged item by item before anything is estimated, and
the draws of controls of all seeds stand side by side.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import polars as pl

from seatrial.runs.store import Store, scan
from seatrial.runs.unit import UnitFolder
from seatrial.store.labels import Labels, read_labels


class TrialName(NamedTuple):
    """What a trial is called."""

    run: str
    model: str
    behaviour: str
    target: str
    label: str


@final
class TrialRows:
    """The rows that one trial rests on, with columns as curves want them.

    ``test``: on the target, in the base condition, at the point where the choice was made.
    ``guards``: on guards, at the options that were chosen. ``select``: of all candidates.
    ``elsewhere``: on the target in other conditions and at other points.
    """

    def __init__(
        self,
        name: TrialName,
        labels: Labels,
        frame: pl.DataFrame,
        choices: Sequence[Mapping[str, Any]],
        point: str,
    ) -> None:
        """Pick the rows.

        Args:
            name: of the trial.
            labels: of its behaviour.
            frame: everything that was measured of the behaviour with the model.
            choices: one a seed, with ``seed``, ``settings`` and ``dose``.
            point: of the target's grid at which the choice was made.
        """
        self.name, self.labels, self.choices = name, labels, tuple(choices)
        is_mine = pl.col("label") == name.label
        is_shared = pl.col("kind").is_in(["unsteered", "baseline"])
        here = frame.filter(is_mine | is_shared)
        on_target = here.filter(
            (pl.col("role") == "target") & (pl.col("target") == name.target)
        )
        is_judged = (pl.col("condition") == "base") & (pl.col("point") == point)
        test = on_target.filter(pl.col("phase") == "test")
        self.test = _columns(test.filter(is_judged))
        self.elsewhere = _columns(test.filter(~is_judged & (pl.col("kind") != "control")))
        self.select = _columns(on_target.filter(pl.col("phase") == "select"))
        chosen = pl.DataFrame(
            [(c["seed"], c["settings"]) for c in choices],
            schema={"seed": pl.Int64, "settings": pl.String},
            orient="row",
        )
        guards = here.filter((pl.col("role") == "guard") & (pl.col("phase") == "test"))
        own = guards.filter(is_mine).join(chosen, on=["seed", "settings"], how="semi")
        self.guards = _columns(pl.concat([own, guards.filter(is_shared)]))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The options that were chosen, of the first seed."""
        return json.loads(self.choices[0]["settings"]) if self.choices else {}


def _columns(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows as curves want them: ``method`` names who acts, ``draw`` tells its draws apart.

    Values of one method over seeds are averaged item by item; draws of controls stay apart.
    """
    is_control = pl.col("kind") == "control"
    named = rows.with_columns(
        method=pl.when(is_control).then(pl.col("control")).otherwise(pl.col("label")),
        draw=pl.when(is_control)
        .then(1000 * pl.col("seed") + 1 + pl.col("draw"))
        .otherwise(pl.lit(0, pl.Int64)),
    )
    keys = ["kind", "method", "draw", "settings", "dose", "point", "condition"]
    return (
        named.group_by([*keys, "item", "group", "metric"], maintain_order=True)
        .agg(pl.col("value").mean())
        .sort([*keys, "item", "metric"])
    )


def trials_of(stores: Sequence[Store]) -> list[TrialRows]:
    """The rows of every trial of some runs, in the order of their plans.

    Raises:
        StoreFault: if nothing is stored.
        BadFile: if a file is damaged.
    """
    rows = scan(stores)
    trials = []
    for store in stores:
        for (model, behaviour), folders in _by_behaviour(store).items():
            where = (
                (pl.col("run") == store.root.name)
                & (pl.col("model") == model)
                & (pl.col("behaviour") == behaviour)
            )
            frame = rows.filter(where).collect()
            first = folders[0]
            labels = read_labels(first.labels)
            for target in labels.targets:
                about = first.labels["plan"][target.name]
                for label in about["methods"]:
                    name = TrialName(store.root.name, model, behaviour, target.name, label)
                    choices = [
                        {**choice, "seed": folder.header["unit"][1]}
                        for folder in folders
                        for choice in folder.choices
                        if (choice["label"], choice["target"]) == (label, target.name)
                    ]
                    trials.append(
                        TrialRows(name, labels, frame, choices, about["points"][0])
                    )
    return trials


def _by_behaviour(store: Store) -> dict[tuple[str, str], list[UnitFolder]]:
    """The units of a run that are measured, seeds together."""
    units: dict[tuple[str, str], list[UnitFolder]] = {}
    for folder in store.units():
        if "test" in folder.finished:
            model, _, behaviour = folder.header["unit"]
            units.setdefault((model, behaviour), []).append(folder)
    return units
