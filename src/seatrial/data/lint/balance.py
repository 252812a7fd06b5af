"""Balance: would a constant answer look like the behaviour, in the file or in a split?

Numbered traps are those of docs/hazards.md.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from seatrial.data.lint.sheet import SPLIT_FORMS, Finding, Sheet, SheetRow, line_numbers
from seatrial.data.split import split

TILT = 0.05
"""How far the share of one answer may lie above an equal share."""

TILT_OF_MAP = 0.15
"""The same for the outputs of a map, which the world does not balance."""

TILT_OF_SPLIT = 0.15
"""How far the share of yes in a split may lie from that in the file."""

FEW_GROUPS = 15
"""Below this the test split has fewer than six, and intervals get wide."""

FEW_ROWS = 24
"""Below this next to no effect can be told from noise."""

BIG_GROUP = 0.2
"""Share of the rows that one group may hold."""

SEEDS = range(5)
"""Splits that are tried."""


def balance(sheet: Sheet) -> Iterator[Finding]:
    """One answer must not be right much more often than the others."""
    labelled = [row for row in sheet.rows if row.label]
    counts = Counter(row.label for row in labelled)
    if not counts:
        return
    commonest, n = counts.most_common(1)[0]
    if len(counts) == 1:
        yield Finding(
            "error",
            "balance",
            f"the right answer is {commonest!r} in all {n} rows, so saying it always would "
            "look like the behaviour",
            "add rows in which another answer is right",
        )
        return
    share, equal = n / len(labelled), 1 / len(counts)
    if share > equal + (TILT_OF_MAP if sheet.form == "map" else TILT):
        remedy = (
            f"report that constant beside every accuracy, or drop some of its {n} rows"
            if sheet.form == "map"
            else f"turn round or drop {n - round(equal * len(labelled))} of its {n} rows"
        )
        yield Finding(
            "warning",
            "balance",
            f"the right answer is {commonest!r} in {share:.0%} of {len(labelled)} rows, "
            f"where {len(counts)} answers would have {equal:.0%} each",
            remedy,
        )


def letters(sheet: Sheet) -> Iterator[Finding]:
    """Letter and word of the right option must go together equally often (trap T36)."""
    cells = Counter(row.cell for row in sheet.rows if row.cell)
    firsts, seconds = (sorted({cell[k] for cell in cells}) for k in (0, 1))
    if len(firsts) < 2 or len(seconds) < 2:
        return  # `balance` speaks of letters, and of words there is only one
    total, equal = cells.total(), 1 / (len(firsts) * len(seconds))
    shares = {(a, b): cells[a, b] / total for a in firsts for b in seconds}
    far = max(shares, key=lambda cell: abs(shares[cell] - equal))
    if abs(shares[far] - equal) > TILT:
        table = ", ".join(f"({a}) {b}: {cells[a, b]}" for a, b in shares)
        yield Finding(
            "warning",
            "letters",
            f"letter and answer are not balanced two by two ({table}), so a taste for a "
            "letter looks like a taste for an answer",
            f"swap the options of some questions until each stands {equal:.0%} of the time",
        )


def groups(sheet: Sheet) -> Iterator[Finding]:
    """Enough rows in enough groups, none of which holds most of them."""
    if sheet.form not in SPLIT_FORMS or not sheet.rows:
        return
    parts = sheet.groups
    if len(parts) < 6:
        yield Finding(
            "error",
            "groups",
            f"{len(parts)} groups are too few to split: fit, select and test need at least "
            "2 each",
            "give rows that do not belong together distinct `group` values",
        )
    elif len(parts) < FEW_GROUPS:
        yield Finding(
            "warning",
            "groups",
            f"only {len(parts)} groups, and intervals rest on groups: the test split gets "
            f"about {round(0.4 * len(parts))}",
            f"write rows on further topics; {FEW_GROUPS} groups or more are a start",
        )
    name, biggest = max(parts.items(), key=lambda pair: len(pair[1]))
    if len(parts) > 1 and len(biggest) > max(2, BIG_GROUP * len(sheet.rows)):
        yield Finding(
            "warning",
            "groups",
            f"group {name!r} holds {len(biggest)} of {len(sheet.rows)} rows, so the splits "
            "get very unequal",
            "divide it by topic, or drop some of its rows",
        )
    if len(sheet.rows) < FEW_ROWS:
        yield Finding(
            "warning",
            "groups",
            f"only {len(sheet.rows)} rows; hardly any effect can be told from noise",
            "write a few dozen at least",
        )


def splits(sheet: Sheet) -> Iterator[Finding]:
    """Each split of a concept should have both answers, whatever the seed."""
    if sheet.form != "concept" or len(sheet.groups) < 6:
        return
    overall = _yes(sheet.rows)
    parts = {
        (seed, name): rows
        for seed in SEEDS
        for name, rows in split(sheet.rows, seed=seed).items()
    }
    worst = max(parts, key=lambda part: abs(_yes(parts[part]) - overall))
    share = _yes(parts[worst])
    if abs(share - overall) <= TILT_OF_SPLIT:
        return
    (seed, name), rows = worst, parts[worst]
    yes = sum(row.label == "yes" for row in rows)
    pure = [own for own in sheet.groups.values() if len({row.label for row in own}) == 1]
    yield Finding(
        "warning" if 0 < share < 1 else "error",
        "splits",
        f"with seed {seed} the {name} split has {yes} yes and {len(rows) - yes} no items",
        f"mix both answers in every group; {len(pure)} of {len(sheet.groups)} have one",
        line_numbers(row for own in pure for row in own),
    )


def _yes(rows: Sequence[SheetRow]) -> float:
    return sum(row.label == "yes" for row in rows) / len(rows)
