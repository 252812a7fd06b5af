"""The report as Markdown: for a pull request, a notebook, or a reader without a browser."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from seatrial.analysis.records import Effect, Summary, Trial
from seatrial.analysis.verdict import LABELS
from seatrial.report.table import (
    Line,
    Matrix,
    baseline_title,
    best_items,
    checks,
    claim_lines,
    control_lines,
    dose_lines,
    elsewhere_lines,
    guard_lines,
    matrices,
    numbers,
    price_lines,
    seed_lines,
    verdict_rows,
    worst_items,
)
from seatrial.report.words import (
    across_behaviours,
    chosen,
    failed_lines,
    failures,
    headline,
    measured,
    not_applicable_lines,
    not_the_concept,
    surfaces,
    trial_name,
    where,
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
        *_claims(summary),
        "## Verdicts",
        _verdicts(summary),
        _bullets(across_behaviours(summary)),
        "\n".join(f"- **{label}**: {meaning}" for label, meaning in LABELS.items()),
        *_told("What failed", failed_lines(summary)),
        *_told("What does not apply", not_applicable_lines(summary)),
    ]
    for matrix in matrices(summary):
        blocks += _matrix(matrix)
    for trial in summary.trials:
        blocks += _section(trial, summary)
    if summary.audit:
        blocks += ["## Audit", _audit(summary)]
    blocks += ["## What was run", _ran(summary)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _told(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", _bullets(lines)] if lines else []


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {text(line)}" for line in lines)


def _claims(summary: Summary) -> list[str]:
    if not summary.claims:
        return []
    titles = ("claim", "outcome", "why", "p", "adjusted p")
    return [
        "## Claims",
        _table(titles, (tuple(map(text, line)) for line in claim_lines(summary))),
    ]


def _matrix(matrix: Matrix) -> list[str]:
    titles = ("fitted on \\ asked", *map(text, matrix.columns))
    rows = ((text(row[0]), *row[1:]) for row in matrix.rows)
    return [f"## {text(matrix.title)}", _table(titles, rows)]


def text(words: object) -> str:
    """Any text as Markdown that shows it literally, in a table cell or outside."""
    flat = " ".join(str(words).split())
    return re.sub(r"([\\`*_{}\[\]|~#])", r"\\\1", escape(flat, quote=False))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _verdicts(summary: Summary) -> str:
    is_placed = any(row.where for row in verdict_rows(summary))
    titles = (
        *(("run, model",) if is_placed else ()),
        "behaviour",
        "target (unit)",
        "method",
        "verdict",
        "mean slope per dose",
        "control band",
        "anti-steerable",
        baseline_title(summary),
        "perplexity × at chosen dose",
        *(("other guards there",) if _is_guarded(summary) else ()),
        "chosen",
    )
    return _table(
        titles,
        (
            (
                *((text(row.where),) if is_placed else ()),
                text(row.behaviour),
                f"{text(row.target)} ({text(row.unit)})",
                text(row.method),
                f"**{row.label}**",
                *(
                    row.slope,
                    row.band,
                    row.anti_steerable,
                    text("; ".join(row.baselines)),
                    row.price,
                    *((text("; ".join(row.guards)),) if _is_guarded(summary) else ()),
                    text(row.chosen),
                ),
            )
            for row in verdict_rows(summary)
        ),
    )


def _is_guarded(summary: Summary) -> bool:
    return any(trial.guards for trial in summary.trials)


def _section(trial: Trial, summary: Summary) -> list[str]:
    about = trial.about.get("about", "")
    place = ", ".join(filter(None, (trial.label, where(trial, summary))))
    means = f"{text(trial.behaviour)}: {text(about)}. " if about else ""
    return [
        f"## {text(trial_name(trial))} ({text(place)}): {trial.verdict.label}",
        f"{means}Measured: {text(measured(trial))}. Unsteered: {trial.base}. "
        f"Chosen: {text(chosen(trial))}, where the effect is {trial.effect}.",
        _bullets(trial.verdict.reasons),
        text(surfaces(trial, summary)),
        *([text(causes)] if (causes := not_the_concept(trial)) else []),
        f"### {text(wrong_items(trial))}",
        _items(worst_items(trial)),
        *(
            ["### The items that moved most", _items(best_items(trial))]
            if best_items(trial)
            else []
        ),
        "### By dose",
        _table(
            ("dose", f"change, {text(trial.unit)}", "controls", "perplexity ×", "KL, nats"),
            dose_lines(trial),
        ),
        *_extra(
            "### By seed",
            ("seed", "chosen", "mean slope", "effect"),
            seed_lines(trial),
        ),
        *_extra(
            "### Elsewhere (no verdict)",
            ("point, condition", "unsteered", "mean slope", "effect"),
            elsewhere_lines(trial),
        ),
        *_extra(
            "### Price of the controls and of the baselines",
            ("steering", "dose", "perplexity ×", "KL, nats"),
            price_lines(trial),
        ),
        *_guards(trial),
        "### Numbers",
        _lines([*numbers(trial), *control_lines(trial)]),
        _bullets(f"{k}: {v}" for k, v in trial.control_verdicts.items()),
    ]


def _extra(title: str, titles: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table of lines whose first two cells are words; nothing where there are none."""
    if not lines:
        return []
    rows = ((text(line[0]), text(line[1]), *line[2:]) for line in lines)
    return [title, _table(titles, rows)]


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
        ("slope", "unsteered", "steered", "item"),
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


def _ran(summary: Summary) -> str:
    lines = []
    for study in summary.studies:
        lines.append(f"study {study['name']}, id {study['id']}, in {study['run']}")
        lines += [
            f"{unit.model}, seed {unit.seed}, {unit.behaviour}: {unit.cells_stored} of "
            f"{unit.cells_planned} cells; "
            + ", ".join(f"{key} {value}" for key, value in unit.header.items())
            for unit in summary.units
            if unit.run == study["run"]
        ]
    return _bullets(lines)
