"""What was measured, on disk: one folder a run, one a unit; tables, names, checksums."""

from seatrial.store.labels import (
    Budget,
    Kind,
    Labels,
    MetricLabel,
    SteeringLabel,
    TaskLabel,
)
from seatrial.store.store import Store, scan
from seatrial.store.unit import UnitFolder

__all__ = [
    "Budget",
    "Kind",
    "Labels",
    "MetricLabel",
    "SteeringLabel",
    "Store",
    "TaskLabel",
    "UnitFolder",
    "scan",
]
