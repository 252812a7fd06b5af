"""Reports: a finished study as one HTML page, as Markdown, and as JSON for programs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seatrial.report.forms import Report, make_report, render, write
    from seatrial.report.terminal import measured_table, verdict_table

__all__ = [
    "Report",
    "make_report",
    "measured_table",
    "render",
    "verdict_table",
    "write",
]

# Loaded when first used: a table in a terminal need not wait for figures.
_HOME = {
    **dict.fromkeys(("Report", "make_report", "render", "write"), "forms"),
    **dict.fromkeys(("measured_table", "verdict_table"), "terminal"),
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
