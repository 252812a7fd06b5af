"""Reports: a finished study as one HTML page, as Markdown, and as JSON for programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from seatrial.analysis.summary import Summary, summarise
from seatrial.report.html import page
from seatrial.report.markdown import markdown
from seatrial.report.results import results, results_text
from seatrial.report.terminal import verdict_table
from seatrial.store.store import Store


@final
@dataclass(frozen=True)
class Report:
    """A study's findings, and the same in three forms; equal rows give equal bytes."""

    summary: Summary
    html: str
    """One page that needs no network."""
    markdown: str
    json: str
    """Every estimate as value, low, high and n."""


def render(summary: Summary) -> Report:
    """A summary in all forms."""
    return Report(summary, page(summary), markdown(summary), results_text(summary))


def report(store: Store) -> Report:
    """The report of a finished study.

    Raises:
        StoreFault: if the study is not finished.
    """
    return render(summarise(store))


def write(store: Store, made: Report | None = None) -> Path:
    """Put report.html, report.md and results.json beside the rows; the page's path.

    Args:
        store: the results of a finished study.
        made: its report, if it is at hand; by default it is made.

    Raises:
        StoreFault: if the study is not finished, or the files cannot be written.
    """
    made = made or report(store)
    store.write_text("results.json", made.json)
    store.write_text("report.md", made.markdown)
    store.write_text("report.html", made.html)
    return store.root / "report.html"


__all__ = [
    "Report",
    "Summary",
    "render",
    "report",
    "results",
    "summarise",
    "verdict_table",
    "write",
]
