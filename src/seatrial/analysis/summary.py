"""Rows in, estimates out: everything that a report shows, as one plain value.

Numbered checks are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from seatrial.analysis.claims import Evidence, evidence_of, judge_claims
from seatrial.analysis.curves import Curves
from seatrial.analysis.estimates import estimate_trial
from seatrial.analysis.records import ClaimResult, Summary, Trial, UnitSummary
from seatrial.analysis.rows import audit_rows
from seatrial.analysis.trials import TrialRows, behaviours_of, trial_names
from seatrial.errors import SeatrialError
from seatrial.files import fingerprint
from seatrial.store import Store, UnitFolder

NOT_HEADER = (
    "targets",
    "guards",
    "labels",
    "behaviour",
    "controls",
    "deciding",
    "families",
    "elsewhere",
    "content",
)
"""Of a unit's header: what names mean, rather than what its numbers rest on."""


def summarise(stores: Store | Sequence[Store]) -> Summary:
    """Compute every estimate of some runs from their rows.

    What is not measured yet, failed, or does not apply is listed, and everything else is
    told: a run need not be whole.

    Raises:
        StoreFault: if a folder holds no study.
        BadFile: if a file is missing or damaged.
    """
    stores = [stores] if isinstance(stores, Store) else list(stores)
    studies: list[Mapping[str, Any]] = []
    units: list[UnitSummary] = []
    trials: list[Trial] = []
    claims: list[ClaimResult] = []
    lists: dict[str, list[Mapping[str, Any]]] = {
        key: [] for key in ("not_applicable", "failed", "audit")
    }
    not_begun = 0
    for run, store in run_names(stores).items():
        plan = store.plan
        completed = plan.get("completed", {})
        not_begun += max(0, _units_planned(completed) - len(store.units()))
        studies.append({"run": run, "id": fingerprint([completed]), **plan})
        for folder in store.units():
            units.append(_unit(run, folder, bool(completed.get("transfer"))))
            for key, entries in lists.items():
                entries += _entries(run, folder, key)
            lists["audit"] += _changed(run, folder)
        evidence: list[Evidence] = []
        for of in behaviours_of(store, run):
            where = {"run": run, "model": of.model, "behaviour": of.behaviour}
            checks = audit_rows(of.frame, of.header.get("labels", {}))
            lists["audit"] += [{**where, **check} for check in checks]
            for name in trial_names(of):
                try:
                    curves = Curves(TrialRows(of, name))
                    trial = estimate_trial(curves)
                except SeatrialError as error:
                    if not _is_listed(lists["failed"], name._asdict()):
                        lists["failed"].append(
                            {**name._asdict(), "phase": "report", "reason": str(error)}
                        )
                    continue
                trials.append(trial)
                evidence.append(evidence_of(trial, curves))
        claims += judge_claims(completed.get("claims", ()), evidence)
    return Summary(
        tuple(studies),
        tuple(units),
        tuple(trials),
        tuple(claims),
        **{key: tuple(entries) for key, entries in lists.items()},
        units_not_begun=not_begun,
    )


def run_names(stores: Sequence[Store]) -> dict[str, Store]:
    """What runs are called together: their folders, with a number where two are alike."""
    named: dict[str, Store] = {}
    for store in stores:
        name = store.root.resolve().name
        number = 2
        while name in named:
            name = f"{store.root.resolve().name} ({number})"
            number += 1
        named[name] = store
    return named


def _units_planned(completed: Mapping[str, Any]) -> int:
    """How many units a completed plan has at least.

    A family is more than the one source that names it, and a model may lay other behaviours
    over the plan for itself: then nothing is said.
    """
    models = completed.get("models", {}).values()
    if any("with" in model for model in models):
        return 0
    sources = (entry.get("source") for entry in completed.get("behaviours", {}).values())
    behaviours = sum(len(each) if isinstance(each, list) else 1 for each in sources)
    return len(models) * len(completed.get("seeds", ())) * behaviours


def _unit(run: str, folder: UnitFolder, is_transferred: bool) -> UnitSummary:
    planned = set(folder.names()["cell"])
    needed = {"test", "transfer"} if is_transferred else {"test"}
    header = folder.header.get("header", {})
    return UnitSummary(
        run,
        *folder.unit,
        is_whole=planned <= folder.cells and needed <= set(folder.finished),
        cells_planned=len(planned),
        cells_stored=len(planned & folder.cells),
        header={key: value for key, value in header.items() if key not in NOT_HEADER},
    )


def _entries(run: str, folder: UnitFolder, key: str) -> list[Mapping[str, Any]]:
    """What a unit lists under a key, each entry once, with where it is from."""
    where = {"run": run, **folder.unit._asdict()}
    entries: list[Mapping[str, Any]] = []
    for entry in folder.header.get(key, ()):
        plain = {k: v for k, v in entry.items() if key != "not_applicable" or k != "phase"}
        if {**where, **plain} not in entries:
            entries.append({**where, **plain})
    return entries


def _changed(run: str, folder: UnitFolder) -> list[Mapping[str, Any]]:
    """A warning where a unit was measured in one environment after another (H14)."""
    if not (changes := folder.header.get("changes")):
        return []
    check = {
        "id": "H14",
        "question": f"{folder.unit}: was all of it measured in one environment?",
        "status": "warned",
        "detail": "; ".join(changes),
        "value": None,
    }
    return [{"run": run, **folder.unit._asdict(), **check}]


def _is_listed(failed: Sequence[Mapping[str, Any]], name: Mapping[str, str]) -> bool:
    """Whether the reason why a trial has no numbers is told already."""
    return any(
        all(entry.get(key) == name[key] for key in ("run", "model", "behaviour"))
        and entry.get("label", "").split(", ")[0] in ("", name["label"])
        for entry in failed
    )
