"""Copies: texts that stand twice, nearly twice, or in two splits (traps T38, T39).

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile

from seatrial.data.lint.sheet import Finding, Sheet, SheetRow, line_numbers
from seatrial.data.texts import near_copies, plain


def ids(sheet: Sheet) -> Iterator[Finding]:
    """Every row needs an id of its own."""
    seen: dict[str, list[SheetRow]] = {}
    for row in sheet.rows:
        seen.setdefault(row.id, []).append(row)
    for identity, rows in seen.items():
        if len(rows) > 1 and sheet.has_ids:
            yield Finding(
                "error",
                "ids",
                f"the id {identity!r} is used {len(rows)} times",
                "give every row its own",
                line_numbers(rows),
            )


def sides(sheet: Sheet) -> Iterator[Finding]:
    """Both sides of a row must differ, and none may be how the other begins (trap T34)."""
    for row in sheet.sided:
        for wrong in row.wrong:
            if plain(row.right) == plain(wrong):
                yield Finding(
                    "error",
                    "sides",
                    "both sides are the same text, so there is nothing to measure",
                    "write a text that differs in the behaviour, or remove the row",
                    (row.line,),
                )
            elif _begins(row.right, wrong) or _begins(wrong, row.right):
                yield Finding(
                    "warning",
                    "sides",
                    "one side is how the other begins, and a shorter text is always the "
                    "likelier one",
                    "let them part before either ends, or score per token",
                    (row.line,),
                )


def _begins(short: str, long: str) -> bool:
    return f"{plain(long)} ".startswith(f"{plain(short)} ")


def copies(sheet: Sheet) -> Iterator[Finding]:
    """No text in two groups, and none twice in one."""
    findings = list(_repeats(sheet.rows))
    if sheet.form == "map":
        # Inputs of one group that differ in case only are different inputs.
        findings = [finding for finding in findings if finding.check != "copies"]
        findings += _reversed(sheet)
    yield from findings


def _repeats(rows: Sequence[SheetRow]) -> Iterator[Finding]:
    reported: set[tuple[int, ...]] = set()
    for field in ("contents", "shared"):
        seen: dict[str, dict[int, SheetRow]] = {}
        for k, row in enumerate(rows):
            for text in getattr(row, field):
                seen.setdefault(plain(text), {})[k] = row
        for text, holders in seen.items():
            across = len({row.group for row in holders.values()}) > 1
            if (
                len(holders) < 2
                or tuple(holders) in reported
                or (field, across) == ("shared", False)
            ):
                continue
            reported.add(tuple(holders))
            shown = _shown(text, next(iter(seen)))
            yield _repeat(shown, holders.values(), across, field == "contents")


def _repeat(
    shown: str, rows: Collection[SheetRow], across: bool, is_content: bool
) -> Finding:
    if across:
        return Finding(
            "error" if is_content else "warning",
            "leakage",
            f"the same text stands in {len(rows)} rows of several groups: {shown}",
            "remove the copies, or give all of them the same `group`",
            line_numbers(rows),
        )
    return Finding(
        "warning",
        "copies",
        f"the same text stands in {len(rows)} rows: {shown}",
        "remove the copies; a text that stands twice counts twice",
        line_numbers(rows),
    )


def _reversed(sheet: Sheet) -> Iterator[Finding]:
    """Pairs that are each other turned round: whoever has seen one knows the other."""
    rows = {(row.prompt, row.right): row for row in sheet.rows}
    for row in sheet.rows:
        other = rows.get((row.right, row.prompt))
        if other is not None and other.line > row.line and other.group != row.group:
            yield Finding(
                "warning",
                "leakage",
                f"{row.prompt!r} to {row.right!r} stands the other way round in another "
                "group",
                "give both rows the same `group`",
                line_numbers((row, other)),
            )


def near(sheet: Sheet) -> Iterator[Finding]:
    """No text in two groups with a few words changed."""
    if sheet.form in ("map", "contexts"):
        return  # single words are either the same or not
    first: dict[str, tuple[SheetRow, str]] = {}
    for row in sheet.rows:
        for text in (*row.contents, *row.shared):
            first.setdefault(plain(text), (row, text))
    owners = list(first.values())
    reported: set[tuple[int, int]] = set()
    for a, b in near_copies([text for _, text in owners]):
        (one, _), (other, text) = owners[a], owners[b]
        place = (one.line, other.line)
        if one.group == other.group or place in reported or _keys(one) & _keys(other):
            continue  # said already, here or by `copies`
        reported.add(place)
        yield Finding(
            "warning",
            "near copies",
            f"nearly the same text in groups {one.group!r} and {other.group!r}: "
            f"{_shown(text, owners[0][1])}",
            "give both rows the same `group`, or rewrite one",
            line_numbers((one, other)),
        )


def _keys(row: SheetRow) -> set[str]:
    return {plain(text) for text in (*row.contents, *row.shared)}


def _shown(text: str, another: str) -> str:
    """The beginning of a text, or of what comes after the template that all texts share."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(text, another, strict=False))
    start = len(list(alike))
    start = text.rfind(" ", 0, start) + 1 if 20 <= start < len(text) else 0
    part = ("..." if start else "") + text[start:].strip()
    return repr(part if len(part) <= 50 else f"{part[:47]}...")
