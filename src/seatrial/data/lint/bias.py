"""Bias: can the right side be told from the other without knowing the behaviour?

Every check compares the sides of a row, so topics cancel, and says by how much with an
interval over groups. Checks look at many features, so intervals are at 99 %, and an effect
must also be large enough to matter.

Numbered traps are those of docs/hazards.md.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from seatrial.data.lint.sheet import Finding, Sheet, SheetRow, line_numbers
from seatrial.data.texts import words_of
from seatrial.stats import cluster_mean
from seatrial.types import Estimate

LEVEL = 0.99
"""Confidence of the intervals."""

ADVANTAGE = 0.15
"""By how much guessing from a feature must beat chance to be named."""

LONGER = 0.1
"""By which share of their length one kind of statement may be longer than the other."""

DIFFERENCE = 0.2
"""By how much the shares of a feature must differ between the sides."""

DRAWS = 400
"""Bootstrap resamples; a file may have thousands of groups and a dozen features."""

GIVEAWAY = 0.3
"""The same for a single word, of which there are many."""


def estimate(rows: Sequence[SheetRow], values: Sequence[float]) -> Estimate | None:
    """The mean with its interval; None where there are too few groups for one."""
    groups = [row.group for row in rows]
    if len(set(groups)) < 5:
        return None
    return cluster_mean(values, groups, level=LEVEL, draws=DRAWS)


def side_gap(rows: Sequence[SheetRow], feature: Callable[[str], float]) -> Estimate | None:
    """Mean over rows of a feature of the right side minus its mean over the others."""
    return estimate(
        rows,
        [
            feature(row.right) - sum(map(feature, row.wrong)) / len(row.wrong)
            for row in rows
        ],
    )


def picking_gain(
    rows: Sequence[SheetRow], score: Callable[[SheetRow, str], float]
) -> Estimate | None:
    """How often picking the side of highest score is right, less chance; ties share."""
    credits = []
    for row in rows:
        right, wrong = score(row, row.right), [score(row, text) for text in row.wrong]
        best = max(right, *wrong)
        ties = [right, *wrong].count(best)
        credits.append((right == best) / ties - 1 / (1 + len(wrong)))
    return estimate(rows, credits)


def towards(difference: Estimate) -> tuple[str, Estimate]:
    """The side on which there is more, and by how much."""
    if difference.value > 0:
        return "right", difference
    turned = (-difference.value, -difference.high, -difference.low, difference.n)
    return "other", Estimate(*turned)


def length(sheet: Sheet) -> Iterator[Finding]:
    """Neither the longer nor the shorter side should be the right one more often."""
    rows = sheet.sided
    more = side_gap(rows, len)
    if more is None:
        return
    for sign, word in ((1, "longest"), (-1, "shortest")):
        gain = picking_gain(rows, lambda _, text, sign=sign: sign * len(text))
        assert gain is not None
        if gain.low > 0 and gain.value >= ADVANTAGE:
            yield Finding(
                "warning",
                "length",
                f"picking the {word} side beats chance by {gain} of the rows; the right "
                f"side has {more} more characters than the other (99 % intervals)",
                "lengthen or shorten sides until neither is longer on the whole",
            )


def statement_length(sheet: Sheet) -> Iterator[Finding]:
    """Statements should be as long where yes matches as where no does."""
    if sheet.form != "concept":
        return
    gaps, names = [], []
    for name, rows in sheet.groups.items():
        by = {
            answer: [len(row.texts["statement"]) for row in rows if row.label == answer]
            for answer in ("yes", "no")
        }
        if all(by.values()):
            yes, no = (sum(sizes) / len(sizes) for sizes in by.values())
            gaps.append(2 * (yes - no) / (yes + no))
            names.append(name)
    if len(names) < 5:
        return
    gap = cluster_mean(gaps, names, level=LEVEL, draws=DRAWS)
    if gap.excludes(0.0) and abs(gap.value) >= LONGER:
        longer = "yes" if gap.value > 0 else "no"
        yield Finding(
            "warning",
            "length",
            f"statements with the answer {longer} are longer than the others of their "
            f"group; yes minus no is {gap} of their mean length (99 % interval)",
            "lengthen or shorten statements until both kinds are as long",
        )


def first_words(sheet: Sheet) -> Iterator[Finding]:
    """The first word alone should not tell the sides apart, nor be that of most outputs."""
    if sheet.form == "map":
        yield from _first_word_of_outputs(sheet)
        return
    rows = sheet.sided
    tally: dict[str, Counter[tuple[bool, str]]] = {"": Counter()}
    for row in rows:
        own = tally.setdefault(f"group {row.group}", Counter())
        for is_right, text in ((True, row.right), *((False, w) for w in row.wrong)):
            own[is_right, _first(text)] += 1
            tally[""][is_right, _first(text)] += 1

    def score(row: SheetRow, text: str) -> float:
        """Share of right sides among those of other groups that begin so."""
        word, own = _first(text), tally[f"group {row.group}"]
        right, wrong = (tally[""][side, word] - own[side, word] for side in (True, False))
        return right / (right + wrong) if right + wrong else 1 / (1 + len(row.wrong))

    gain = picking_gain(rows, score)
    if gain is None or gain.low <= 0 or gain.value < ADVANTAGE:
        return
    telling = sorted(
        {word for _, word in tally[""]},
        key=lambda word: -abs(tally[""][True, word] - tally[""][False, word]),
    )[:3]
    shown = ", ".join(
        f"{w!r} {tally[''][True, w]} to {tally[''][False, w]}" for w in telling
    )
    yield Finding(
        "warning",
        "first words",
        f"guessing the right side by its first word beats chance by {gain} of the rows "
        f"(99 % interval); right to other: {shown}",
        "let both sides begin alike; what is read at the first token would be that word",
    )


def _first_word_of_outputs(sheet: Sheet) -> Iterator[Finding]:
    outputs = {row.right for row in sheet.rows}
    counts = Counter(_first(text) for text in outputs if len(words_of(text)) > 1)
    if not counts:
        return
    word, n = counts.most_common(1)[0]
    if n > max(2, DIFFERENCE * len(outputs)):
        rows = [row for row in sheet.rows if _first(row.right) == word]
        yield Finding(
            "warning",
            "first words",
            f"{n} of {len(outputs)} different outputs begin with {word!r}, and a score of "
            "first tokens alone counts it as right (trap T35)",
            "leave that word out, or score whole answers",
            line_numbers(rows),
        )


def _first(text: str) -> str:
    return next(iter(words_of(text)), text.strip())


def giveaways(sheet: Sheet) -> Iterator[Finding]:
    """No single word should stand on one side only in a large part of the rows."""
    rows = sheet.sided
    right = Counter(word for row in rows for word in set(words_of(row.right)))
    wrong = Counter(
        word for row in rows for text in row.wrong[:1] for word in set(words_of(text))
    )
    for word in sorted({*right, *wrong}):
        gap = (right[word] - wrong[word]) / len(rows)
        if abs(gap) >= GIVEAWAY:
            yield from _giveaway(rows, word)
    if sheet.form == "concept":
        yield from _statement_words(sheet)


def _giveaway(rows: Sequence[SheetRow], word: str) -> Iterator[Finding]:
    gap = side_gap(rows, lambda text: float(word in words_of(text)))
    if gap is None or not gap.excludes(0.0) or abs(gap.value) < GIVEAWAY:
        return
    side, size = towards(gap)
    yield Finding(
        "warning",
        "words",
        f"{word!r} stands more often on the {side} side, by {size} of the rows (99 % "
        "interval)",
        "use other words in some rows; a vector for it would look like the behaviour",
    )


def _statement_words(sheet: Sheet) -> Iterator[Finding]:
    kinds = {
        answer: [row for row in sheet.rows if row.label == answer]
        for answer in ("yes", "no")
    }
    if not all(kinds.values()):
        return
    shares = {
        answer: Counter(w for row in rows for w in set(words_of(row.texts["statement"])))
        for answer, rows in kinds.items()
    }
    for word in sorted({*shares["yes"], *shares["no"]}):
        yes, no = (shares[a][word] / len(kinds[a]) for a in ("yes", "no"))
        if abs(yes - no) >= GIVEAWAY:
            more = "yes" if yes > no else "no"
            yield Finding(
                "warning",
                "words",
                f"{word!r} stands in {yes:.0%} of the statements with the answer yes and "
                f"in {no:.0%} of those with no",
                f"use it less where the answer is {more}; the word gives the answer away",
            )
