"""A run's folder written by hand: every number of a summary can be made from these."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

ITEMS = tuple(f"item-{k}" for k in range(8))
GROUPS = tuple(f"group-{k // 2}" for k in range(8))
DOSES = (-1.0, 0.0, 1.0, 2.0)
PASSAGES = ("p-0", "p-1", "p-2")
SELECT = {0: 0.1, 1: 0.6}
"""Mean slope by layer on the select split."""
METHOD_LOSS = 0.2
CONTROL_LOSS = {("random", 0): 0.1, ("random", 1): 0.3, ("random", 2): 0.5}
CONTROL_LOSS |= {("shuffled", 0): 0.0, ("shuffled", 1): 0.2}
INSTRUCTION = {-1.0: -0.5, 1.0: 1.5}


def curve(item, dose):
    """An item's metric: some rise, one falls, and the rise flattens."""
    slope = -0.1 if item == 3 else 0.8 + 0.02 * item
    return 0.01 * item + slope * dose - 0.05 * dose**2 + 0.05 * np.sin(7 * item + dose)


def control_curve(draw, dose):
    return 0.02 * (draw - 1) * dose


@dataclass
class Run:
    """What one unit of a study measured, as plain values that a test may change."""

    model: str = "m"
    seed: int = 0
    behaviour: str = "c"
    family: str = "c"
    doses: tuple[float, ...] = DOSES
    """With 0."""
    dose: float = 1.0
    """That was chosen."""
    layer: int = 1
    sign: int = 1
    curve: object = curve
    """(item, dose) -> value, of the method."""
    controls: dict = field(default_factory=lambda: dict(CONTROL_LOSS))
    """(label, draw) -> loss on prose."""
    deciding: tuple[str, ...] | None = ("random", "shuffled")
    instruction: dict = field(default_factory=lambda: dict(INSTRUCTION))
    order: float | None = None
    elsewhere: dict = field(default_factory=dict)
    """(point, condition) -> curve."""
    points: tuple[str, ...] = ("",)
    conditions: tuple[str, ...] = ("base",)
    ceiling: float | None = None
    drop: tuple = ()
    """(label, dose, item) of values that are lost."""
    guards: tuple[str, ...] = ("prose",)
    error: float = 0.0
    """What steering adds to the guard ``facts``, as a share of its items."""
    failed: tuple = ()
    not_applicable: tuple = ()
    audit: tuple = ()
    finished: tuple[str, ...] = ("select", "price", "test")
    missing: int = 0
    """Cells that are planned and not stored."""
    labels: tuple[str, ...] = ("caa",)
    claims: tuple = ()
    matters: float | None = None
    transfers: dict = field(default_factory=dict)
    """(other behaviour/target) or (fit condition, condition) -> value of every item."""
    is_within: bool = True


def _metrics(run, value, dose):
    own = {"open": value, "matching": -1 + value / 2, "other": -2.0}
    return own if run.order is None else {**own, "order": run.order * dose}


def _cells(run):
    """Name fields and scores (item -> group and metrics) of every cell."""
    from seatrial.store.records import Name

    cells = []

    def add(phase, role, target, kind, label, dose, scores, *, settings="{}", control="",
            draw=-1, point="", condition="base", fit_condition="base"):  # fmt: skip
        place = "|".join((role, target, phase, point, condition))
        who = "|".join((label, control, str(draw), settings, f"{dose:g}", fit_condition))
        name = Name(
            f"{place}|{who}", place, "" if kind == "unsteered" else who, phase, label, kind,
            control, draw, settings, dose, role, target, point, condition, run.behaviour,
            fit_condition, "select" if phase in ("select", "price") else "test",
        )  # fmt: skip
        kept = {i: s for i, s in scores.items() if (label, dose, i) not in run.drop}
        cells.append((name, kept))

    def target(value, dose):
        return {
            item: (group, _metrics(run, value(k, dose), dose))
            for k, (item, group) in enumerate(zip(ITEMS, GROUPS, strict=True))
        }

    def passages(loss, kl):
        return {
            item: (item, {"loss": 2.0 + k / 10 + loss, "kl": kl, "tokens": 9.0})
            for k, item in enumerate(PASSAGES)
        }

    def facts(share):
        wrong = round(share * len(ITEMS))
        return {item: (item, {"error": float(k < wrong)}) for k, item in enumerate(ITEMS)}

    settings = json.dumps({"layer": run.layer})
    steered = [dose for dose in run.doses if dose]
    on = ("target", "open")
    add("select", *on, "unsteered", "unsteered", 0.0, target(lambda k, d: 0.0, 0.0))
    for label in run.labels:
        for layer, slope in SELECT.items():
            for dose in (-1.0, 1.0):
                add("select", *on, "method", label, dose,
                    target(lambda k, d, s=slope: s * d, dose),
                    settings=json.dumps({"layer": layer}))  # fmt: skip
    places = {("", "base"): run.curve}
    if run.points != ("",):
        places = {(run.points[0], "base"): run.curve}
    for (point, condition), one in {**places, **run.elsewhere}.items():
        where = {"point": point, "condition": condition}
        add("test", *on, "unsteered", "unsteered", 0.0, target(one, 0.0), **where)
        for label in run.labels:
            for dose in steered:
                add("test", *on, "method", label, dose, target(one, dose),
                    settings=settings, **where)  # fmt: skip
    for label in run.labels:
        for control, draw in run.controls:
            for dose in steered:
                add("test", *on, "control", label, dose,
                    target(lambda k, d, n=draw: control_curve(n, d), dose),
                    settings=settings, control=control, draw=draw,
                    point=run.points[0])  # fmt: skip
    for dose, value in run.instruction.items():
        add("test", *on, "baseline", "instruction", dose,
            target(lambda k, _, v=value: v, dose), point=run.points[0])  # fmt: skip
    if run.ceiling is not None:
        add("test", "ceiling", "open", "unsteered", "unsteered", 0.0,
            target(lambda k, d: run.curve(k, 0.0) + run.ceiling, 0.0),
            point=run.points[0])  # fmt: skip
    for key, value in run.transfers.items():
        other, condition = key
        is_other = "/" in other
        asked = {"target": other} if is_other else {"condition": condition}
        where = {"condition": "base", "fit_condition": "base" if is_other else other}
        where |= {k: v for k, v in asked.items() if k == "condition"}
        name = asked.get("target", "open")
        if is_other:
            add("transfer", "target", name, "unsteered", "unsteered", 0.0,
                target(lambda k, d: 0.0, 0.0), **where)  # fmt: skip
        add("transfer", "target", name, "method", "caa", run.dose,
            target(lambda k, d, v=value: v, run.dose), settings=settings,
            **where)  # fmt: skip
    prose = ("guard", "prose")
    if "prose" in run.guards:
        add("test", *prose, "unsteered", "unsteered", 0.0, passages(0.0, 0.0))
        for label in run.labels:
            for dose in steered:
                add("test", *prose, "method", label, dose,
                    passages(METHOD_LOSS * abs(dose), 0.1), settings=settings)  # fmt: skip
            for (control, draw), loss in run.controls.items():
                for dose in (-1.0, 1.0):
                    add("test", *prose, "control", label, dose,
                        passages(loss, (draw + 1) / 10), settings=settings,
                        control=control, draw=draw)  # fmt: skip
        for dose in run.instruction:
            add("test", *prose, "baseline", "instruction", dose, passages(0.01, 0.2))
    if "facts" in run.guards:
        add("test", "guard", "facts", "unsteered", "unsteered", 0.0, facts(0.0))
        for label in run.labels:
            for dose in steered:
                add("test", "guard", "facts", "method", label, dose,
                    facts(run.error if dose > 0 else 0.0), settings=settings)  # fmt: skip
    return cells


def _labels(run):
    from seatrial.store.labels import Budget, Labels, MetricLabel, SteeringLabel, TaskLabel

    unit = "nats per token"
    target = TaskLabel(
        "open",
        "target",
        "free text",
        (
            MetricLabel("open", unit, "verdict", run.sign),
            MetricLabel("matching", unit, "promoted"),
            MetricLabel("other", unit, "suppressed"),
            MetricLabel("order", unit, "order"),
        ),
    )
    prose = TaskLabel(
        "prose",
        "guard",
        "damage to prose",
        (MetricLabel("loss", unit, "verdict"), MetricLabel("kl", unit, "drift")),
        is_priced=True,
    )
    errors = (MetricLabel("error", "share of questions", "verdict"),)
    facts = TaskLabel("facts", "guard", "errors", errors)
    kinds = {"unsteered": "unsteered", **dict.fromkeys(run.labels, "method")}
    kinds |= {"instruction": "baseline", "random": "control", "shuffled": "control"}
    guards = {"prose": prose, "facts": facts}
    return Labels(
        (target,),
        tuple(guards[name] for name in run.guards),
        tuple(SteeringLabel(name, kind, "for tests") for name, kind in kinds.items()),
        Budget(),
    )


def _header(run):
    header = {
        "model": "m",
        "dtype": "float32",
        "logit fingerprint": "0",
        "layers": 2,
        "targets": {
            "open": {
                "metric": "open", "sign": run.sign, "points": list(run.points),
                "conditions": list(run.conditions), "chosen_on": "",
                "arms": [*run.labels, "instruction"], "methods": list(run.labels),
                "matters": run.matters, "ceiling": run.ceiling is not None,
            }
        },
        "guards": {},
        "labels": _labels(run).plain(),
        "behaviour": {"about": "what it is", "family": run.family},
        "families": {label: label.split(" ")[0] for label in run.labels},
        "controls": {"random": "random", "shuffled": "shuffled"},
        "elsewhere": {"d/open": {"metric": "open", "sign": 1}},
    }  # fmt: skip
    if run.deciding is not None:
        header["deciding"] = {label: list(run.deciding) for label in run.labels}
    return header


def fill(store, *runs, name="by-hand", **plan):
    """Write the units of a study."""
    from seatrial.store.records import (
        Begun,
        Checked,
        Chosen,
        Failed,
        Finished,
        Items,
        Planned,
        Rows,
        Unit,
    )

    claims = [dict(claim) for run in runs for claim in run.claims]
    completed = {"models": {"m": {}}, "claims": claims, **plan}
    store.open({"name": name, "scale": "small", "defects": [], "completed": completed})
    for run in runs:
        unit = Unit(run.model, run.seed, run.behaviour)
        choices = [
            {
                "label": label, "target": "open", "dose": dose, "is_within": run.is_within,
                "settings": json.dumps({"layer": run.layer} if label in run.labels else {}),
            }
            for label, dose in (*((n, run.dose) for n in run.labels), ("instruction", 1.0))
        ]  # fmt: skip
        cells = _cells(run)
        stored = cells[: len(cells) - run.missing]
        rows = [
            (name.cell, item, metric, float(value))
            for name, scores in stored
            for item, (_, metrics) in scores.items()
            for metric, value in metrics.items()
        ]
        entries = {
            (name.ask, item): {
                "ask": name.ask, "item": item, "group": group, "text": f"text of {item}",
                "factors": json.dumps({"yes": item != "item-3", "(A)": True}),
            }
            for name, scores in cells
            for item, (group, _) in scores.items()
        }  # fmt: skip
        store.keep(Begun(unit, _header(run)))
        store.keep(Chosen(unit, tuple(choices)))
        for phase in ("select", "price", "test", "transfer"):
            names = tuple(name for name, _ in cells if name.phase == phase)
            store.keep(Planned(unit, phase, names, run.not_applicable))
        store.keep(Items(unit, tuple(entries.values())))
        columns = zip(*rows, strict=True) if rows else ((), (), (), ())
        store.keep(Rows(unit, *columns, tuple(name.cell for name, _ in stored)))
        store.keep(Checked(unit, run.audit))
        for phase, label, reason in run.failed:
            store.keep(Failed(unit, phase, label, reason))
        for phase in run.finished:
            store.keep(Finished(unit, phase))
    return store


@pytest.fixture(scope="session")
def by_hand():
    """What a run's folder is made of: ``by_hand.fill(store, by_hand.Run(...))``."""
    return SimpleNamespace(
        Run=Run,
        fill=fill,
        curve=curve,
        control_curve=control_curve,
        **{name: globals()[name] for name in _NAMES},
    )


_NAMES = ("ITEMS", "GROUPS", "DOSES", "PASSAGES", "SELECT", "CONTROL_LOSS", "INSTRUCTION")


@pytest.fixture
def summary_of(tmp_path):
    """The summary of a run written by hand: ``summary_of(Run(...), ...)``."""

    def make(*runs, folder="out", **plan):
        from seatrial.analysis.summary import summarise
        from seatrial.store.store import Store

        return summarise(fill(Store(tmp_path / folder), *runs, **plan))

    return make
