"""From run folders to the rows of each trial.

A trial is model x behaviour x target x label. It has one choice for each seed; seeds share
the test items, so their values are averaged item by item before anything is estimated, and
the draws of controls of all seeds stand side by side.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import polars as pl

from seatrial.store import Store, UnitFolder
from seatrial.store.labels import Labels, TaskLabel, read_labels
from seatrial.store.store import scan_unit

LEAST_DRAWS = {"random": 3, "shuffled": 2}
"""With fewer draws of a control of these names nothing can be said to work."""


class TrialName(NamedTuple):
    """What a trial is called."""

    run: str
    model: str
    behaviour: str
    target: str
    label: str


@final
@dataclass(frozen=True)
class BehaviourRows:
    """Everything that a run measured of one behaviour with one model, seeds together."""

    run: str
    model: str
    behaviour: str
    labels: Labels
    header: Mapping[str, Any]
    """Of the first seed's unit."""
    frame: pl.DataFrame
    """Texts as categories: millions of rows have a few thousand of them."""
    items: pl.DataFrame
    """Columns ask, item, text and factors."""
    choices: tuple[Mapping[str, Any], ...]
    """Of all arms and seeds, each with its ``seed``."""


@final
class TrialRows:
    """The rows that one trial rests on, with columns as curves want them.

    Columns: kind, method (who acts: a label, or that of a control), draw, point, condition,
    target, dose, item, group, metric, value. Those of what was chosen have ``side`` in
    place of a dose: 1 at the dose that each seed chose, -1 at its negative.

    Controls on the target are nearly all rows of a large study. They stand apart, in
    ``drawn``, and are averaged by whoever reads them, draw by draw.
    """

    def __init__(self, of: BehaviourRows, name: TrialName) -> None:
        """Pick the rows.

        Args:
            of: everything that was measured of the behaviour with the model.
            name: of the trial.
        """
        self.name, self.labels, self.header = name, of.labels, of.header
        self.target: TaskLabel = of.labels.target(name.target)
        plan = of.header["targets"][name.target]
        self.point: str = plan["points"][0]
        conditions = plan["conditions"]
        self.condition: str = "base" if "base" in conditions else conditions[0]
        chosen = [c for c in of.choices if c["target"] == name.target]
        self.choices = tuple(c for c in chosen if c["label"] == name.label)
        self.least_draws: Mapping[str, int] = _least_draws(of, name.label)
        is_mine = pl.col("label") == name.label
        is_shared = pl.col("kind").is_in(["unsteered", "baseline"])
        is_tested = pl.col("phase").is_in(["test", "more"])
        is_judged = (pl.col("condition") == self.condition) & (
            pl.col("point") == self.point
        )
        is_drawn = _IS_CONTROL & (pl.col("role") == "target")
        rows = of.frame.lazy().with_columns(**_ACTING).filter(is_mine | is_shared)
        here = _with_side(rows.filter(~is_drawn).collect(), chosen)
        is_own = (pl.col("target") == name.target) & (
            pl.col("metric") == self.target.metric.name
        )
        drawn = rows.filter(is_drawn & is_own & is_tested & is_judged)
        self.drawn = drawn.select(*_KEYS, "dose", *_ITEMS, "value", "seed").collect()
        on_target = here.filter(pl.col("target") == name.target)
        on_items = on_target.filter(pl.col("role") == "target")
        test = on_items.filter(is_tested)
        self.asks = test.filter(is_judged)["ask"].unique().to_list()
        words = of.items.filter(pl.col("ask").is_in(self.asks)).unique("item")
        self.items = {
            item: (text, json.loads(factors))
            for item, text, factors in words.select("item", "text", "factors").rows()
        }
        self.by_seed = {
            seed: averaged(test.filter(is_judged & (pl.col("seed") == seed)), "dose")
            for seed in sorted({choice["seed"] for choice in self.choices})
        }
        self.test = averaged(test.filter(is_judged), "dose")
        self.chosen = averaged(test.filter(is_judged & _IS_CHOSEN), "side")
        self.refits = test.filter(is_judged & _IS_CHOSEN & (pl.col("kind") == "refit"))
        apart = test.filter(~is_judged)
        self.elsewhere = averaged(apart, "dose")
        self.elsewhere_chosen = averaged(apart.filter(_IS_CHOSEN), "side")
        select = on_items.filter(pl.col("phase") == "select")
        self.select = averaged(select, "settings", "dose")
        self.ceiling = averaged(on_target.filter(pl.col("role") == "ceiling"), "dose")
        guards = here.filter((pl.col("role") == "guard") & is_tested)
        # A guard is asked under what every target chose; others' settings are not mine.
        own = guards.join(_settings(chosen), on=["seed", "label", "settings"], how="semi")
        plain = guards.filter(pl.col("kind") == "unsteered")
        # Draw by draw, as those on the target: all at once take several times the memory.
        acts = parted(own, "kind", "method", "draw")
        each = [averaged(plain, "dose"), *(averaged(same, "dose") for _, same in acts)]
        self.guards = pl.concat(each)
        self.guards_chosen = averaged(own.filter(_IS_CHOSEN & ~_IS_CONTROL), "side")
        transfer = here.filter(pl.col("phase") == "transfer")
        self.transfer = averaged(transfer.filter(pl.col("kind") == "unsteered"), "dose")
        transferred = transfer.filter(_IS_CHOSEN & is_mine)
        self.transfer_chosen = averaged(transferred, "side", "fit_condition")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The options that were chosen, of the first seed."""
        return json.loads(self.choices[0]["settings"]) if self.choices else {}

    @property
    def dose(self) -> float:
        """The dose that was chosen, of the first seed; 1 where nothing was chosen."""
        return float(self.choices[0]["dose"]) if self.choices else 1.0


def parted(frame: pl.DataFrame, *keys: str) -> list[tuple[tuple, pl.DataFrame]]:
    """The rows of each combination of keys, in the order of the keys."""
    return sorted(frame.partition_by(list(keys), as_dict=True).items())


def averaged(rows: pl.DataFrame, *more: str) -> pl.DataFrame:
    """One value for each item and draw, over the seeds that have it: ``seeds`` of them.

    Args:
        rows: with who acts, and in which draw.
        more: columns to keep apart, such as the dose.
    """
    keys = [*_KEYS, *more]
    return (
        rows.filter(pl.col("kind") != "refit")
        .group_by([*keys, *_ITEMS])
        .agg(pl.col("value").mean(), pl.col("seed").n_unique().alias("seeds"))
        .sort([*keys, "item", "metric"])
    )


_KEYS = ("kind", "method", "draw", "point", "condition", "target")
_ITEMS = ("item", "group", "metric")
_IS_CONTROL = pl.col("kind") == "control"
_ACTING = {
    "method": pl.when(_IS_CONTROL).then("control").otherwise("label"),
    "draw": pl.when(_IS_CONTROL)
    .then(1000 * pl.col("seed") + 1 + pl.col("draw"))
    .when(pl.col("kind") == "refit")
    .then("draw")
    .otherwise(0),
}
"""Who acts, and in which draw: those of all seeds are told apart, as are refits."""
_IS_CHOSEN = pl.col("side") != 0


def _with_side(rows: pl.DataFrame, choices: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A column that says whether a dose is what its seed chose, or the negative."""
    sides = pl.DataFrame(
        [
            (choice["seed"], choice["label"], sign * float(choice["dose"]), sign)
            for choice in choices
            for sign in (1, -1)
        ],
        schema={
            "seed": pl.Int64,
            "label": pl.Categorical,
            "dose": pl.Float64,
            "side": pl.Int8,
        },
        orient="row",
    ).unique(["seed", "label", "dose"])
    return rows.join(sides, on=["seed", "label", "dose"], how="left").with_columns(
        pl.col("side").fill_null(0)
    )


def _settings(choices: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    rows = [(choice["seed"], choice["label"], choice["settings"]) for choice in choices]
    schema = {"seed": pl.Int64, "label": pl.Categorical, "settings": pl.Categorical}
    return pl.DataFrame(rows, schema=schema, orient="row").unique()


def _least_draws(of: BehaviourRows, label: str) -> dict[str, int]:
    """By label of a control, how many draws of it a verdict needs; empty: it has none.

    A unit says which deciding controls an arm can have. Where it does not say, those that
    were planned are meant.
    """
    names = of.header.get("controls", {})
    by_arm = of.header.get("deciding")
    if by_arm is not None:
        return {
            own: LEAST_DRAWS[kind]
            for kind in by_arm.get(label, ())
            for own in [next((k for k, v in names.items() if v == kind), kind)]
        }
    drawn = of.frame.lazy().filter((pl.col("label") == label) & _IS_CONTROL)
    return {
        control: LEAST_DRAWS[names.get(control, control)]
        for control in drawn.select("control").collect()["control"].unique().sort()
        if names.get(control, control) in LEAST_DRAWS
    }


def behaviours_of(store: Store, run: str) -> Iterator[BehaviourRows]:
    """What a run measured, one behaviour with one model at a time.

    Args:
        store: of the run.
        run: what it is called among others.

    Raises:
        BadFile: if a file is damaged.
    """
    units: dict[tuple[str, str], list[UnitFolder]] = {}
    for folder in store.units():
        if folder.choices or "test" in folder.finished:
            units.setdefault((folder.unit.model, folder.unit.behaviour), []).append(folder)
    for (model, behaviour), folders in units.items():
        header = folders[0].header["header"]
        yield BehaviourRows(
            run,
            model,
            behaviour,
            read_labels(header["labels"]),
            header,
            pl.concat([_rows(folder, run) for folder in folders]),
            pl.concat([folder.items() for folder in folders]),
            tuple(
                {**choice, "seed": folder.unit.seed}
                for folder in folders
                for choice in folder.choices
            ),
        )


def _rows(folder: UnitFolder, run: str) -> pl.DataFrame:
    """What a unit measured: texts as categories, without what no estimate asks for."""
    rows = scan_unit(folder, run).drop("run", "model", "behaviour", "fit", "split")
    return rows.cast({pl.String: pl.Categorical, "seed": pl.Int64}).collect()


def trial_names(of: BehaviourRows) -> list[TrialName]:
    """The trials that a plan makes of a behaviour, in the order of the plan."""
    return [
        TrialName(of.run, of.model, of.behaviour, target.name, label)
        for target in of.labels.targets
        for label in of.header["targets"][target.name]["methods"]
    ]
