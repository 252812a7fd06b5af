"""What was measured, on disk; no torch here."""

from seatrial.store.labels import (
    Budget,
    Kind,
    Labels,
    MetricLabel,
    SteeringLabel,
    TaskLabel,
)
from seatrial.store.store import AUDIT, PROGRESS, Store
from seatrial.store.tables import COLUMNS

__all__ = [
    "AUDIT",
    "COLUMNS",
    "PROGRESS",
    "Budget",
    "Kind",
    "Labels",
    "MetricLabel",
    "SteeringLabel",
    "Store",
    "TaskLabel",
]
