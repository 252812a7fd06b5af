"""A summary as plain values, for programs: equal studies give equal bytes."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from seatrial.analysis.records import Summary, Trial, UnitSummary

FORMAT = 2
"""Of results.json; counts up when a key changes its meaning."""

_HEADER = ("model", "dtype", "logit fingerprint", "seatrial")
"""What of the header does not depend on the machine or the hour."""


def results(summary: Summary) -> dict[str, Any]:
    """Everything that the report shows, every estimate as value, low, high and n."""
    return {
        "format": FORMAT,
        "studies": _portable(summary.studies),
        "units": [_unit(unit) for unit in summary.units],
        "trials": [_trial(trial) for trial in summary.trials],
        "claims": _plain(summary.claims),
        "not_applicable": _portable(summary.not_applicable),
        "failed": _portable(summary.failed),
        "audit": _plain(summary.audit),
        "cells": {"planned": summary.cells_planned, "stored": summary.cells_stored},
    }


def _trial(trial: Trial) -> dict[str, Any]:
    """A trial without what only words are made of."""
    plain = _plain(trial)
    del plain["labels"]
    return {**plain, "model": _portable(trial.model), "about": _portable(trial.about)}


def _unit(unit: UnitSummary) -> dict[str, Any]:
    header = {key: unit.header[key] for key in _HEADER if key in unit.header}
    return {
        **_plain(unit),
        "model": _portable(unit.model),
        "header": _portable(header),
    }


def results_text(summary: Summary) -> str:
    """The content of results.json."""
    content = results(summary)
    return (
        json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        + "\n"
    )


def _plain(value: Any) -> Any:
    """Dataclasses to dicts, tuples to lists, floats to 6 significant digits."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        # JSON has no infinity; null says that there is no number.
        return float(f"{value:.6g}") if isfinite(value) else None
    return value


def _key(key: Any) -> str:
    return f"{key:g}" if isinstance(key, float) else str(key)


def _portable(value: Any) -> Any:
    """Plain values in which a file on this machine is named by its last part only."""
    if isinstance(value, Mapping):
        return {_key(key): _portable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(entry) for entry in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if (path := kind(value)).is_absolute():
                return path.name
    return _plain(value)
