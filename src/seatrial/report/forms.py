"""A study's findings in three forms: a page, Markdown, and JSON for programs."""

from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import final

from seatrial.analysis.summary import Summary, summarise
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
    """A study's findings, and the same in three forms; equal rows give equal bytes."""

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


def make_report(store: Store) -> Report:
    """The report of a finished study.

    Raises:
        StoreFault: if the study is not finished.
    """
    return render(summarise(store))


def write(store: Store, report: Report | None = None) -> Path:
    """Put report.html, report.md and results.json beside the rows; the page's path.

    Args:
        store: the results of a finished study.
        report: of that study, if it is at hand; by default it is made.

    Raises:
        StoreFault: if the study is not finished, or the files cannot be written.
    """
    report = report or make_report(store)
    store.write_text("results.json", report.json)
    store.write_text("report.md", report.markdown)
    store.write_text("report.html", report.html)
    return store.root / "report.html"
