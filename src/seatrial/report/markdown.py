"""The report as Markdown: for a pull request, a notebook, or a reader without a browser."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from seatrial.analysis.summary import Effect, Summary, Trial
from seatrial.analysis.verdict import LABELS
from seatrial.report.table import (
    Line,
    best_items,
    checks,
    control_lines,
    dose_lines,
    guard_lines,
    numbers,
    price_lines,
    verdict_rows,
    worst_items,
)
from seatrial.report.words import (
    across_concepts,
    failures,
    headline,
    measured,
    not_the_concept,
    surfaces,
    trial_name,
    wrong_items,
)

_READING = (
    "Dose 1 is the steering as fitted, 0 the unsteered model; the slope is the "
    "change per unit of dose, positive in the wanted direction.",
    "The control band is what random directions and shuffled labels do; an effect "
    "inside it is no evidence. Anti-steerable items move the wrong way or not at all.",
    "Perplexity is that of neutral prose against the unsteered model (1 means no "
    "damage). [low, high] is a 95 % interval over groups of related items, not "
    "widened for the number of trials.",
)


def markdown(summary: Summary) -> str:
    """The whole report as Markdown."""
    blocks = [
        f"# {text(headline(summary))}",
        text(failures(summary)),
        "## How to read it",
        *_READING,
        "## Verdicts",
        _verdicts(summary),
        "\n".join(f"- {text(line)}" for line in across_concepts(summary)),
        "\n".join(f"- **{label}**: {meaning}" for label, meaning in LABELS.items()),
    ]
    for trial in summary.trials:
        blocks += _section(trial, summary)
    blocks += ["## Audit", _audit(summary), "## What was run", _header(summary)]
    return "\n\n".join(blocks) + "\n"


def text(words: object) -> str:
    """Any text as Markdown that shows it literally, in a table cell or outside."""
    flat = " ".join(str(words).split())
    return re.sub(r"([\\`*_{}\[\]|~#])", r"\\\1", escape(flat, quote=False))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _verdicts(summary: Summary) -> str:
    titles = (
        "concept",
        "task (unit)",
        "method",
        "verdict",
        "mean slope per dose",
        "control band",
        "anti-steerable",
        "instruction effect",
        "perplexity × at dose ±1",
        *(("other guards at dose ±1",) if _is_guarded(summary) else ()),
        "layer",
    )
    return _table(
        titles,
        (
            (
                text(row.concept),
                f"{text(row.task)} ({text(row.unit)})",
                text(row.method),
                f"**{row.label}**",
                *(
                    row.slope,
                    row.band,
                    row.anti_steerable,
                    row.instruction,
                    row.price,
                    *((text("; ".join(row.guards)),) if _is_guarded(summary) else ()),
                    row.layer,
                ),
            )
            for row in verdict_rows(summary)
        ),
    )


def _is_guarded(summary: Summary) -> bool:
    return any(trial.guards for trial in summary.trials)


def _section(trial: Trial, summary: Summary) -> list[str]:
    about = summary.concepts.get(trial.concept, {}).get("about", "")
    return [
        f"## {text(trial_name(trial))} ({text(trial.method)}): {trial.verdict.label}",
        f"{text(trial.concept)}: {text(about)}. "
        f"Measured: {text(measured(trial, summary))}. Unsteered: {trial.base}.",
        "\n".join(f"- {text(reason)}" for reason in trial.verdict.reasons),
        text(surfaces(trial, summary)),
        *([text(causes)] if (causes := not_the_concept(trial)) else []),
        f"### {text(wrong_items(trial))}",
        _items(worst_items(trial)),
        "### The items that moved most",
        _items(best_items(trial)),
        "### By dose",
        _table(
            ("dose", f"change, {text(trial.unit)}", "controls", "perplexity ×", "KL, nats"),
            dose_lines(trial),
        ),
        "### Price of the controls and of the instruction",
        _table(
            ("steering", "dose", "perplexity ×", "KL, nats"),
            ((text(line.method), *line[1:]) for line in price_lines(trial)),
        ),
        *_guards(trial),
        "### Numbers",
        _lines([*numbers(trial, summary), *control_lines(trial, summary)]),
        "\n".join(f"- {text(k)}: {text(v)}" for k, v in trial.control_verdicts.items()),
    ]


def _guards(trial: Trial) -> list[str]:
    if not trial.guards:
        return []
    titles = ("guard", "steering", "dose", "change from unsteered", "controls")
    return [
        "### Other guards (more is worse)",
        _table(
            titles, (tuple(map(text, line[:3])) + line[3:] for line in guard_lines(trial))
        ),
        "\n".join(
            f"- {text(f'{guard.guard}: {guard.metric}')}, unsteered: {guard.base} "
            f"{text(guard.unit)}"
            for guard in trial.guards
        ),
    ]


def _items(effects: Sequence[Effect]) -> str:
    return _table(
        ("slope", "unsteered", "at dose 1", "item"),
        (
            (f"{e.slope:+.3f}", f"{e.unsteered:.3f}", f"{e.steered:.3f}", text(e.text))
            for e in effects
        ),
    )


def _lines(lines: Sequence[Line]) -> str:
    return _table(
        ("quantity", "value", "unit", "rests on", "meaning"),
        (
            (text(line.name), line.text, text(line.unit), line.n, text(line.meaning))
            for line in lines
        ),
    )


def _audit(summary: Summary) -> str:
    return _table(
        ("id", "check", "outcome", "detail"),
        (
            (check.id, text(check.question), check.status, text(check.detail))
            for check in checks(summary)
        ),
    )


def _header(summary: Summary) -> str:
    lines = {"study": summary.study["name"], "study id": summary.study_id, **summary.header}
    return "\n".join(f"- {text(key)}: {text(value)}" for key, value in lines.items())
