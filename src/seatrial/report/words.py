"""The sentences and numbers of a report, the same in every form it takes.

Numbered requirements and checks are those of docs/hazards.md.
"""

import re
from pathlib import PurePath

from seatrial.analysis.estimates import settings_words
from seatrial.analysis.records import Summary, Trial
from seatrial.analysis.verdict import LABELS, Label
from seatrial.files import fingerprint
from seatrial.stats import cluster_mean
from seatrial.types import Estimate

GUIDE: tuple[tuple[str, str], ...] = (
    (
        "Trial",
        "one method on one behaviour of one model, measured on one target. A target is "
        "a surface on which a behaviour can show: agreement with statements, or free "
        "text. What holds on one surface need not hold on another.",
    ),
    (
        "Dose",
        "how strongly the steering is applied: 1 is the steering as it was fitted, 0 "
        "is the unsteered model, -1 pushes the opposite way. Options and dose of a trial "
        "were chosen on select items, which are no test items.",
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
        "Baseline effect",
        "what a user would do instead, on the same items, such as asking in words: half "
        "the difference between asking for the behaviour and asking against it, or the "
        "change from the unsteered model where there is one direction only.",
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
        "such intervals, one is expected to miss. Claims are: Holm's adjusted p counts how "
        "many of them there are.",
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
    "not judged": ("is not judged", "are not judged"),
}


def percent(share: Estimate) -> str:
    """A share in percent: ``31% [22%, 40%]``."""
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]"


def trial_name(trial: Trial) -> str:
    """A trial in words, its surface included."""
    return f"{trial.behaviour} on {trial.target}"


def anchor(trial: Trial) -> str:
    """The trial's place in the page; no two trials share one."""
    name = [trial.run, trial.model, trial.behaviour, trial.target, trial.label]
    words = re.sub(r"[^A-Za-z0-9]+", "-", " ".join(["trial", *name[2:]]))
    return f"{words[:80]}-{fingerprint(name)}"


def where(trial: Trial, summary: Summary) -> str:
    """Run and model of a trial, where there are several; empty where there are not."""
    parts = [
        getattr(trial, name)
        for name in ("run", "model")
        if len({getattr(each, name) for each in summary.trials}) > 1
    ]
    return ", ".join(map(short, parts))


def short(name: object) -> str:
    """A name, a local file or folder by its last part."""
    path = PurePath(str(name))
    return path.name if path.is_absolute() else str(name)


def chosen(trial: Trial) -> str:
    """The options and the dose that select items decided."""
    settings = settings_words(trial.settings)
    return ", ".join(filter(None, (settings, f"dose {trial.dose:g}")))


def headline(summary: Summary) -> str:
    """How many trials work, on which models and surfaces, and how much is missing."""
    entries = (_repeated_defects(summary), _claim(summary), missing_parts(summary))
    return " ".join(filter(None, entries))


def _repeated_defects(summary: Summary) -> str:
    """Which known defects of a paper the numbers carry on purpose; empty without any."""
    names = dict.fromkeys(d for study in summary.studies for d in study.get("defects", ()))
    if not names:
        return ""
    what = "defect" if len(names) == 1 else "defects"
    return f"AS PUBLISHED, with the known {what} {_joined(list(names))}."


def _claim(summary: Summary) -> str:
    works = [trial for trial in summary.trials if trial.verdict.label == "works"]
    total, models = len(summary.trials), _models(summary)
    if not total:
        return f"No trial is measured on {models} yet."
    methods = list(dict.fromkeys(trial.label for trial in summary.trials))
    method, many = _listed(methods), len(methods) > 1
    trials = "trial" if total == 1 else "trials"
    if not works:
        return f"None of the {total} {trials} of {method} works on {models}."
    surfaces_of: dict[str, list[str]] = {}
    for trial in works:
        claimed = f"{trial.label} for {trial.behaviour}" if many else trial.behaviour
        claimed += f" ({place})" if (place := where(trial, summary)) else ""
        surfaces_of.setdefault(claimed, []).append(trial.target)
    names = [f"{claimed} on {_joined(tasks)}" for claimed, tasks in surfaces_of.items()]
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    verb = "works" if len(works) == 1 else "work"
    claim = f"{len(works)} of {total} {trials} of {method} {verb} on {models}"
    return f"{claim}: {'; '.join(shown)}."


def missing_parts(summary: Summary) -> str:
    """How much of what was planned is missing, or failed; empty where nothing is."""
    missing = summary.cells_planned - summary.cells_stored
    unfinished = sum(not unit.is_whole for unit in summary.units)
    sentences = []
    if missing or unfinished:
        cells = f"{missing} of {summary.cells_planned} planned cells"
        units = f"{unfinished} of {len(summary.units)} units"
        sentences.append(f"Not whole: {cells} are missing, {units} unfinished.")
    if count := summary.units_not_begun:
        units = "unit is" if count == 1 else "units are"
        sentences.append(f"Not whole: {count} {units} not begun.")
    if failed := len(summary.failed):
        sentences.append(f"{failed} {'part' if failed == 1 else 'parts'} failed.")
    return " ".join(sentences)


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
    if summary.trials:
        worst = max(summary.trials, key=lambda trial: trial.response.anti_steerable.value)
        place = ", ".join(filter(None, (worst.label, where(worst, summary))))
        sentences.append(
            f"The largest share of items that moved the wrong way or not at all is "
            f"{percent(worst.response.anti_steerable)}, in {trial_name(worst)} ({place})."
        )
    entries = (_claimed(summary), completeness(summary), _audited(summary), noise(summary))
    return " ".join(filter(None, [*sentences, *entries]))


def _claimed(summary: Summary) -> str:
    if not summary.claims:
        return ""
    hold = sum(claim.holds for claim in summary.claims)
    return f"Of {len(summary.claims)} claims {hold} {'holds' if hold == 1 else 'hold'}."


def completeness(summary: Summary) -> str:
    """Whether every planned cell is in the numbers."""
    planned, stored = summary.cells_planned, summary.cells_stored
    if stored == planned:
        return f"All {planned} planned cells were measured."
    missing = "the numbers are not the whole study"
    return f"Of {planned} planned cells {stored} are stored: {missing}."


def failed_lines(summary: Summary) -> list[str]:
    """What failed, in words: where, and why."""
    lines = []
    for entry in summary.failed:
        seed = f", seed {entry['seed']}" if "seed" in entry else ""
        unit = f"{short(entry['model'])}{seed}, {entry['behaviour']}"
        parts = (entry.get("label"), entry.get("target"))
        what = " on ".join(str(part) for part in parts if part)
        label = what or "the whole unit"
        run = f"{entry['run']}: " if len(summary.studies) > 1 else ""
        defect = (
            " (a defect of seatrial, please report it)" if entry.get("is_defect") else ""
        )
        lines.append(f"{run}{unit}: {label} failed: {entry['reason']}{defect}")
    return lines


def not_applicable_lines(summary: Summary) -> list[str]:
    """What does not fit and was never planned, each once, with its reason."""
    lines = [f"{entry['what']}: {entry['reason']}" for entry in summary.not_applicable]
    return list(dict.fromkeys(lines))


def _audited(summary: Summary) -> str:
    counts = {status: 0 for status in ("failed", "warned")}
    for entry in summary.audit:
        if entry["status"] in counts:
            counts[entry["status"]] += 1
    others = [f"{count} {status}" for status, count in counts.items() if count]
    total = len(summary.audit)
    if not total:
        return ""
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
    """Whether the targets agree, so that no claim outgrows its surface."""
    same = [t for t in summary.trials if _subject(t) == _subject(trial)]
    if len(same) == 1:
        return (
            f"Measured on one surface only ({trial.target}); nothing is said about others."
        )
    labels = list(dict.fromkeys(t.verdict.label for t in same))
    if len(labels) == 1:
        return f"The surfaces agree: {labels[0]} on {_joined([t.target for t in same])}."
    each = _joined([f"{t.verdict.label} on {t.target}" for t in same])
    return (
        f"The surfaces disagree: {each}. No verdict here carries over to another surface."
    )


def _subject(trial: Trial) -> tuple[str, str, str, str]:
    return trial.run, trial.model, trial.behaviour, trial.label


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


def across_behaviours(summary: Summary) -> list[str]:
    """For each method and target, the mean over behaviours as the units (R1)."""
    lines = []
    groups: dict[tuple[str, str, str, str], list[Trial]] = {}
    for trial in summary.trials:
        key = (trial.label, trial.target, where(trial, summary), trial.unit)
        groups.setdefault(key, []).append(trial)
    for (label, target, place, unit), same in groups.items():
        name = f"{label} on {target}{f' ({place})' if place else ''}"
        if len({trial.behaviour for trial in same}) < 2:
            lines.append(
                f"{name} was tried on one behaviour; nothing is said about others."
            )
            continue
        mean = cluster_mean(
            [t.response.steerability.value for t in same], [t.behaviour for t in same]
        )
        lines.append(
            f"{name}, over {len(same)} behaviours: mean slope {mean} {unit} per unit of "
            "dose, with behaviours as the units."
        )
    return lines


def measured(trial: Trial) -> str:
    """What the target measures, with its unit and the direction that is wanted."""
    target = trial.labels.target(trial.target)
    less = ""
    if target.metric.sign < 0:
        less = "; less of it is more of the behaviour, and changes count towards that"
    return f"{target.summary}, in {trial.unit}{less}"


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


def _models(summary: Summary) -> str:
    """The models as the studies name them."""
    names = (trial.model for trial in summary.trials)
    models = list(dict.fromkeys(map(short, names)))
    models = models or list(dict.fromkeys(short(unit.model) for unit in summary.units))
    return _listed(models) or "any model"


def _listed(names: list[str]) -> str:
    """Names in a sentence, not more than five of them."""
    if len(names) <= 5:
        return _joined(names)
    return _joined([*names[:4], f"{len(names) - 4} others"])


def _joined(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
