"""What runs found in three forms: a page, Markdown, and JSON for programs."""

from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import final

from seatrial.analysis.records import Summary
from seatrial.analysis.summary import summarise
from seatrial.files import Folder
from seatrial.report.html import page
from seatrial.report.markdown import markdown
from seatrial.report.results import results_text
from seatrial.report.words import headline
from seatrial.store import Store

_LONGEST = 600
"""Characters of the headline that a notebook or a console shows."""


@final
@dataclass(frozen=True, repr=False)
class Report:
    """What runs found, and the same in three forms; equal rows give equal bytes."""

    summary: Summary
    html: str
    """One page that needs no network."""
    markdown: str
    json: str
    """Every estimate as value, low, high and n."""

    def __repr__(self) -> str:
        labels = Counter(trial.verdict.label for trial in self.summary.trials)
        counts = ", ".join(f"{count} {label}" for label, count in labels.items())
        return (
            f"<Report: {self._headline} Verdicts: {counts}. In three forms: html of "
            f"{len(self.html):,} characters, markdown of {len(self.markdown):,}, json of "
            f"{len(self.json):,}>"
        )

    def _repr_html_(self) -> str:
        """For a notebook; every text as text."""
        labels = Counter(trial.verdict.label for trial in self.summary.trials)
        counts = "".join(
            f"<li>{count} × {escape(label)}</li>" for label, count in labels.items()
        )
        return f"<p><b>{escape(self._headline)}</b></p><ul>{counts}</ul>"

    @property
    def _headline(self) -> str:
        text = headline(self.summary)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def render(summary: Summary) -> Report:
    """A summary in all forms."""
    return Report(summary, page(summary), markdown(summary), results_text(summary))


def make_report(*stores: Store) -> Report:
    """The report of one run or several together.

    Args:
        stores: of the runs; they need not be whole.

    Raises:
        StoreFault: if a folder holds no study.
        BadFile: if a file is missing or damaged.
    """
    return render(summarise(stores))


def write(report: Report, folder: Path | str) -> Path:
    """Put report.html, report.md and results.json into a folder; the page's path.

    Args:
        report: of one run or several.
        folder: such as that of the run.

    Raises:
        StoreFault: if they cannot be written.
    """
    place = Folder(folder)
    place.write_text("results.json", report.json)
    place.write_text("report.md", report.markdown)
    place.write_text("report.html", report.html)
    return place.root / "report.html"
