"""The report as one HTML page that fetches nothing and shows every text as text."""

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from seatrial.analysis.records import Summary, Trial
from seatrial.analysis.verdict import LABELS
from seatrial.files import digest
from seatrial.report import figures, table, words
from seatrial.report.distribution import distribution
from seatrial.report.overview import MARKS, overview

_STATUS = {"passed": "✓", "warned": "!", "failed": "✗"}


def page(summary: Summary) -> str:
    """The whole page."""
    drawn = {"overview": overview(summary.trials)} if summary.trials else {}
    sections = []
    for trial in summary.trials:
        own = _drawn(trial)
        ids = {name: f"{words.anchor(trial)}-{name}" for name in own}
        drawn |= {ids[name]: figure for name, figure in own.items()}
        sections.append(_section(trial, summary, ids))
    plotly, script = _plotly(), _part("page.js")
    return _template().render(
        policy=_policy(plotly, script),
        style=Markup(_part("page.css")),
        plotly=Markup(plotly),
        script=Markup(script),
        figures=Markup(embedded(drawn)),
        summary=summary,
        headline=words.headline(summary),
        failures=words.failures(summary),
        claims=table.claim_lines(summary),
        failed=words.failed_lines(summary),
        not_applicable=words.not_applicable_lines(summary),
        matrices=table.matrices(summary),
        across=words.across_behaviours(summary),
        rows=table.verdict_rows(summary),
        baselines=table.baseline_title(summary),
        is_guarded=any(trial.guards for trial in summary.trials),
        many_methods=len({trial.label for trial in summary.trials}) > 1,
        is_placed=any(words.where(trial, summary) for trial in summary.trials),
        models=", ".join(dict.fromkeys(words.short(unit.model) for unit in summary.units)),
        labels=LABELS,
        marks=MARKS,
        guide=words.GUIDE,
        sections=sections,
        checks=table.checks(summary),
        signs=_STATUS,
        ran=_ran(summary),
        plans=[
            (study["run"], json.dumps(study, indent=2, sort_keys=True, ensure_ascii=False))
            for study in summary.studies
        ],
    )


def embedded(drawn: Mapping[str, go.Figure]) -> str:
    """Figures as JSON that no text inside can end: it holds no ``<``, ``>`` or ``&``."""
    parts = [
        f"{json.dumps(name)}: {figure.to_json(engine='json')}"
        for name, figure in drawn.items()
    ]
    text = "{" + ",\n".join(parts) + "}"
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _drawn(trial: Trial) -> dict[str, go.Figure]:
    drawn = {
        "dose-response": figures.dose_response(trial),
        "distribution": distribution(trial),
    }
    if trial.prices or trial.control_prices:
        budget = trial.labels.budget.perplexity_ratio
        drawn |= {
            "perplexity": figures.perplexity(trial, budget),
            "drift": figures.drift(trial),
        }
    if trial.candidates:
        drawn["candidates"] = figures.candidates(trial)
    return drawn


def _section(trial: Trial, summary: Summary, ids: Mapping[str, str]) -> dict[str, Any]:
    about = dict(trial.about)
    return {
        "trial": trial,
        "anchor": words.anchor(trial),
        "where": words.where(trial, summary),
        "chosen": words.chosen(trial),
        "figure": ids,
        "about": about.pop("about", ""),
        "facts": about,
        "measured": words.measured(trial),
        "surfaces": words.surfaces(trial, summary),
        "not_the_concept": words.not_the_concept(trial),
        "wrong": words.wrong_items(trial),
        "worst": table.worst_items(trial),
        "best": table.best_items(trial),
        "doses": table.dose_lines(trial),
        "seeds": table.seed_lines(trial),
        "elsewhere": table.elsewhere_lines(trial),
        "numbers": table.numbers(trial),
        "controls": table.control_lines(trial),
        "prices": table.price_lines(trial),
        "marks": figures.marks(trial),
        "guards": table.guard_lines(trial),
    }


def _ran(summary: Summary) -> list[dict[str, str]]:
    """What was run on what: a list of facts for each study and for each of its units."""
    facts: list[dict[str, str]] = []
    for study in summary.studies:
        facts.append(
            {
                "study": str(study["name"]),
                "run": str(study["run"]),
                "study id": str(study["id"]),
                "scale": str(study.get("scale", "")),
                "code": str(study.get("code", "")),
            }
        )
        for unit in summary.units:
            if unit.run == study["run"]:
                cells = f"{unit.cells_stored} stored of {unit.cells_planned} planned"
                own = f"{unit.model}, seed {unit.seed}, {unit.behaviour}"
                facts.append({"unit": own, "cells": cells, **_flat(unit.header)})
    return facts


def _flat(header: Mapping[str, Any]) -> dict[str, str]:
    """A header without nesting: nested parts get names like ``a, b``."""
    flat: dict[str, str] = {}

    def add(prefix: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, entry in value.items():
                add(f"{prefix}, {key}" if prefix else str(key), entry)
        elif isinstance(value, (list, tuple)):
            flat[prefix] = ", ".join(map(str, value))
        else:
            flat[prefix] = str(value)

    add("", header)
    return flat


def _policy(*scripts: str) -> str:
    """A content security policy under which these scripts run and nothing else does."""
    hashes = " ".join(
        f"'sha256-{b64encode(digest([script.encode()])).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly() -> str:
    """Plotly's own script; a browser hashes it with line ends as here."""
    script = get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")
    assert "</script" not in script.lower(), "plotly.js would end its own element"
    return script


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_part("page.html.j2"))


def _part(name: str) -> str:
    return (files("seatrial.report") / name).read_text("utf-8")
