"""The sentences and numbers of a report, the same in every form it takes.

Numbered requirements and checks are those of docs/hazards.md.
"""

import re
from pathlib import PurePath

from seatrial.analysis.summary import Summary, Trial
from seatrial.analysis.verdict import LABELS, Label
from seatrial.stats import cluster_mean
from seatrial.types import Estimate

GUIDE: tuple[tuple[str, str], ...] = (
    (
        "Trial",
        "one method on one concept, measured on one task. A task is a surface on "
        "which a behaviour can show: agreement with statements, or free text. What "
        "holds on one surface need not hold on another.",
    ),
    (
        "Dose",
        "how strongly the steering is applied: 1 is the steering as it was fitted, 0 "
        "is the unsteered model, -1 pushes the opposite way.",
    ),
    (
        "Slope",
        "how much the measured quantity changes per unit of dose: a straight line "
        "through all doses, item by item. Positive is the wanted direction. A nat is "
        "a unit of log-probability: 0.69 nats make an answer twice as likely.",
    ),
    (
        "Control band",
        "what steering does without knowing the concept. It holds the intervals of "
        "all random directions and of all refits on shuffled labels, and the range in "
        "which one more of them would lie. An effect inside it is no evidence.",
    ),
    (
        "Anti-steerable",
        "the share of items that steering moves the wrong way or not at all. A good "
        "mean can hide a large share.",
    ),
    (
        "Instruction effect",
        "what asking in words does on the same items: half the difference between "
        "asking for the behaviour and asking against it.",
    ),
    (
        "Price",
        "damage to neutral prose: its perplexity against the unsteered model, where 1 "
        "means none; and KL, how far the next-token distribution drifts, in nats per "
        "token. Other guards, where a study has them, are questions and tasks that the "
        "unsteered model can do: how much its errors or losses there grow.",
    ),
    (
        "Intervals",
        "[low, high] holds the true value with 95 % confidence. It counts groups of "
        "related items, not items, and is not widened for the number of trials: of 20 "
        "such intervals, one is expected to miss.",
    ),
)
"""The terms of a report, each with what it means."""

MOST = 0.5
"""Share of the variance from which on the report says what explains it, if all of its
interval is above."""

_COUNTED: dict[Label, tuple[str, str]] = {
    "works": ("works", "work"),
    "works at a price": ("works at a price", "work at a price"),
    "unreliable": ("is unreliable", "are unreliable"),
    "no better than a control": (
        "is no better than a control",
        "are no better than a control",
    ),
    "no effect": ("shows no effect", "show no effect"),
    "reverses": ("moves the behaviour the wrong way", "move the behaviour the wrong way"),
}


def percent(share: Estimate) -> str:
    """A share in percent: ``31% [22%, 40%]``."""
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]"


def trial_name(trial: Trial) -> str:
    """A trial in words, its surface included."""
    return f"{trial.concept} on {trial.task}"


def anchor(trial: Trial) -> str:
    """The trial's place in the page."""
    return re.sub(
        r"[^A-Za-z0-9]+", "-", f"trial {trial.concept} {trial.task} {trial.method}"
    )


def headline(summary: Summary) -> str:
    """How many trials work, on which model and which surface."""
    works = [trial for trial in summary.trials if trial.verdict.label == "works"]
    total, model = len(summary.trials), _model(summary)
    methods = list(dict.fromkeys(trial.method for trial in summary.trials))
    method, many = _joined(methods), len(methods) > 1
    trials = "trial" if total == 1 else "trials"
    if not works:
        return f"None of the {total} {trials} of {method} works on {model}."
    surfaces_of: dict[str, list[str]] = {}
    for trial in works:
        claimed = f"{trial.method} for {trial.concept}" if many else trial.concept
        surfaces_of.setdefault(claimed, []).append(trial.task)
    names = [f"{claimed} on {_joined(tasks)}" for claimed, tasks in surfaces_of.items()]
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    verb = "works" if len(works) == 1 else "work"
    claim = f"{len(works)} of {total} {trials} of {method} {verb} on {model}"
    return f"{claim}: {'; '.join(shown)}."


def failures(summary: Summary) -> str:
    """What did not work, what is missing, and what a check complained about, counted."""
    labels = [trial.verdict.label for trial in summary.trials]
    counts = [
        f"{labels.count(label)} {_COUNTED[label][labels.count(label) > 1]}"
        for label in LABELS
        if label != "works" and label in labels
    ]
    others = "others" if "works" in labels else "trials"
    sentences = [f"Of the {others}, {_joined(counts)}."] if counts else []
    if len(set(labels)) == 1 and counts and len(labels) > 1:
        sentences = [f"All {_joined(counts)}."]
    worst = max(summary.trials, key=lambda trial: trial.response.anti_steerable.value)
    sentences.append(
        f"The largest share of items that moved the wrong way or not at all is "
        f"{percent(worst.response.anti_steerable)}, in {trial_name(worst)} "
        f"({worst.method})."
    )
    sentences += [completeness(summary), _audited(summary), noise(summary)]
    return " ".join(filter(None, sentences))


def completeness(summary: Summary) -> str:
    """Whether every planned cell is in the numbers."""
    planned, stored = summary.cells_planned, summary.cells_stored
    if stored == planned:
        return f"All {planned} planned cells were measured."
    missing = "the numbers are not the whole study"
    return f"Of {planned} planned cells {stored} are stored: {missing}."


def _audited(summary: Summary) -> str:
    counts = {status: 0 for status in ("failed", "warned")}
    for entry in summary.audit:
        if entry["status"] in counts:
            counts[entry["status"]] += 1
    others = [f"{count} {status}" for status, count in counts.items() if count]
    total = len(summary.audit)
    return (
        f"Of {total} checks {_joined(others)}." if others else f"All {total} checks passed."
    )


def noise(summary: Summary) -> str:
    """The numerical noise floor, which every effect must be far above; empty if unknown."""
    noises = [
        entry["value"]
        for entry in summary.audit
        if entry["id"] == "H5" and entry.get("value") is not None
    ]
    if not noises:
        return ""
    return (
        f"Numerical noise: asked alone or in a batch, a token's score differs by up to "
        f"{max(noises):.0e} nats."
    )


def surfaces(trial: Trial, summary: Summary) -> str:
    """Whether the tasks agree about a concept, so that no claim outgrows its surface."""
    same = [
        t for t in summary.trials if (t.concept, t.method) == (trial.concept, trial.method)
    ]
    if len(same) == 1:
        return f"Measured on one surface only ({trial.task}); nothing is said about others."
    labels = list(dict.fromkeys(t.verdict.label for t in same))
    if len(labels) == 1:
        return f"The surfaces agree: {labels[0]} on {_joined([t.task for t in same])}."
    each = _joined([f"{t.verdict.label} on {t.task}" for t in same])
    return (
        f"The surfaces disagree: {each}. No verdict here carries over to another surface."
    )


def not_the_concept(trial: Trial) -> str:
    """What a letter, a word or an order does, where it is most of how items differ."""
    causes = []
    for part in trial.spread:
        if part.share.low >= MOST:
            leans = f" (slopes are {part.leans} where it does)" if part.leans else ""
            among = f" {part.among}" if part.among else ""
            causes.append(f"{part.by}{leans}: {percent(part.share)} of the variance{among}")
    if not causes:
        return ""
    return f"How items differ is mostly not the concept but {_joined(causes)}."


def across_concepts(summary: Summary) -> list[str]:
    """For each method and task, the mean over concepts, with concepts as the units (R1)."""
    lines = []
    for method, task in dict.fromkeys((t.method, t.task) for t in summary.trials):
        same = [t for t in summary.trials if (t.method, t.task) == (method, task)]
        if len(same) < 2:
            lines.append(
                f"{method} on {task} was tried on one concept; nothing is said about "
                "others."
            )
            continue
        mean = cluster_mean(
            [t.response.steerability.value for t in same], [t.concept for t in same]
        )
        lines.append(
            f"{method} on {task}, over {len(same)} concepts: mean slope {mean} "
            f"{same[0].unit} per unit of dose, with concepts as the units."
        )
    return lines


def measured(trial: Trial, summary: Summary) -> str:
    """What the task measures, with its unit."""
    return f"{summary.labels.target(trial.task).summary}, in {trial.unit}"


def wrong_items(trial: Trial) -> str:
    """How many items moved the wrong way, as the heading of those shown."""
    wrong = sum(effect.slope <= 0 for effect in trial.effects)
    total = len(trial.effects)
    if not wrong:
        return f"None of the {total} items moved the wrong way; these moved least"
    share = percent(trial.response.anti_steerable)
    return (
        f"{wrong} of {total} items ({share}) moved the wrong way or not at all; the worst"
    )


def _model(summary: Summary) -> str:
    """The model as the study names it, a local folder by its last part."""
    name = str(summary.study["model"])
    return PurePath(name).name if PurePath(name).is_absolute() else name


def _joined(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
