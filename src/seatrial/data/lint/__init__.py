"""`seatrial lint`: what is wrong with a file of data, before anything is measured on it.

A file without an error can be loaded and split; what a warning says may still be what a
method finds in place of the behaviour.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from seatrial.data.concepts import read_concept_file
from seatrial.data.lint import balance, bias, characters, copies, style
from seatrial.data.lint.read import from_error, read_sheet
from seatrial.data.lint.sheet import Finding, Form, Severity, Sheet, SheetRow, merged
from seatrial.data.maps import read_map_file
from seatrial.data.split import split
from seatrial.errors import BadData

CHECKS: tuple[Callable[[Sheet], Iterator[Finding]], ...] = (
    copies.ids,
    copies.sides,
    copies.copies,
    copies.near,
    balance.groups,
    balance.splits,
    balance.balance,
    balance.letters,
    bias.length,
    bias.statement_length,
    bias.first_words,
    bias.giveaways,
    style.prompt_words,
    style.given_answers,
    style.styles,
    characters.characters,
    characters.spaces,
)
"""What is looked at, in the order in which it is told."""


@final
@dataclass(frozen=True)
class Linted:
    """What a file is, and what was found in it, errors first."""

    name: str
    form: Form
    n_rows: int
    n_groups: int
    unit: str
    """What the lines of findings count: lines, rows or entries."""
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """How many findings there are of a kind."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line: what was read, and how many findings there are."""
        counts = [
            f"{n} {severity}" if n == 1 else f"{n} {severity}s"
            for severity in ("error", "warning")
            for n in [self.count(severity)]
        ]
        return (
            f"{self.name}: {self.n_rows} rows in {self.n_groups} groups, read as "
            f"{self.form}; {', '.join(counts)}"
        )


def lint(path: Path) -> Linted:
    """Look for everything that could spoil a measurement on a file of data.

    Args:
        path: a ``.jsonl`` file with a concept or a map, a ``.jsonl``, ``.csv``, ``.tsv`` or
            ``.parquet`` file with pairs (positive, negative), a map (input, output) or
            items (question, matching, not_matching), a ``.json`` file in the format of CAA,
            or a ``.toml`` file that describes one of the others.

    Raises:
        BadFile: if there is no such file, or nothing says what it holds.
        BadData: if it is no UTF-8 text, or a TOML file is malformed.
        BadOption, Unreachable: if a TOML file names data that cannot be had.
    """
    sheet, findings = read_sheet(path)
    findings = merged(findings)
    for check in CHECKS:
        findings += merged(list(check(sheet)))
    if not any(finding.severity == "error" for finding in findings):
        findings += _refusal(path, sheet)
    findings.sort(key=lambda finding: finding.severity)  # stable, and "e" is before "w"
    return Linted(
        path.name,
        sheet.form,
        len(sheet.rows),
        len(sheet.groups),
        sheet.unit,
        tuple(findings),
    )


def _refusal(path: Path, sheet: Sheet) -> list[Finding]:
    """What loading or splitting the file would still refuse."""
    try:
        if sheet.form == "concept":
            split(read_concept_file(path).items, seed=0)
        elif sheet.form == "map" and path.suffix == ".jsonl":
            split(read_map_file(path).pairs, seed=0)
        elif not sheet.rows:
            raise BadData("there are no rows; give at least a few dozen")
    except BadData as error:
        return [from_error(error, str(path))]
    return []


__all__ = ["CHECKS", "Finding", "Form", "Linted", "Severity", "Sheet", "SheetRow", "lint"]
