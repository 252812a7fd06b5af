"""Style and prompt: can the right side be told by how it is written, or by its prompt?"""

from collections.abc import Callable, Iterator

from seatrial.data.lint.bias import ADVANTAGE, DIFFERENCE, picking_gain, side_gap, towards
from seatrial.data.lint.sheet import Finding, Sheet, SheetRow, line_numbers
from seatrial.data.texts import plain, words_of


def prompt_words(sheet: Sheet) -> Iterator[Finding]:
    """The right side should not repeat more of the prompt than the other does."""
    rows = [row for row in sheet.sided if row.prompt.strip()]
    prompts = {row.line: frozenset(words_of(row.prompt)) for row in rows}

    def repeated(row: SheetRow, text: str) -> float:
        words = words_of(text)
        return sum(word in prompts[row.line] for word in words) / max(1, len(words))

    gain = picking_gain(rows, repeated)
    if gain is not None and gain.low > 0 and gain.value >= ADVANTAGE:
        yield Finding(
            "warning",
            "prompt",
            "picking the side that repeats more words of the prompt beats chance by "
            f"{gain} of the rows (99 % interval)",
            "reword those sides; copying from the prompt would look like the behaviour",
        )


def given_answers(sheet: Sheet) -> Iterator[Finding]:
    """The prompt should not hold the answer."""
    if sheet.form == "map":
        given = [row for row in sheet.rows if row.right == row.prompt]
    else:
        given = [row for row in sheet.sided if _is_given(row)]
    if given:
        yield Finding(
            "warning",
            "prompt",
            f"the answer stands in the prompt of {len(given)} of {len(sheet.rows)} rows",
            "ask so that the prompt does not hold it, or drop those rows",
            line_numbers(given),
        )


def _is_given(row: SheetRow) -> bool:
    prompt = f" {plain(row.prompt)} "
    return f" {plain(row.right)} " in prompt and not any(
        f" {plain(text)} " in prompt for text in row.wrong
    )


_STYLES: dict[str, Callable[[str], bool]] = {
    "ends a sentence": lambda text: text.rstrip().endswith((".", "!", "?")),
    "has an exclamation mark": lambda text: "!" in text,
    "begins with a capital": lambda text: text.lstrip()[:1].isupper(),
    "begins with a space": lambda text: text[:1].isspace(),
    "holds a digit": lambda text: any(map(str.isdigit, text)),
    "holds a quotation mark": lambda text: any(sign in text for sign in "\"“”„«»"),
    "holds a line break": lambda text: "\n" in text.strip(),
    "holds signs beyond ASCII": lambda text: not text.isascii(),
}  # fmt: skip


def styles(sheet: Sheet) -> Iterator[Finding]:
    """Capitals, full stops and the like should be as common on both sides."""
    for name, has in _STYLES.items():
        gap = side_gap(sheet.sided, lambda text, has=has: float(has(text)))
        if gap is not None and gap.excludes(0.0) and abs(gap.value) >= DIFFERENCE:
            side, size = towards(gap)
            yield Finding(
                "warning",
                "style",
                f"the {side} side {name} more often, by {size} of the rows (99 % interval)",
                "write both sides in one style",
            )
