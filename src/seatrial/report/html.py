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

from seatrial.analysis.summary import Summary, Trial
from seatrial.analysis.verdict import LABELS
from seatrial.files import digest
from seatrial.report import figures, table, words
from seatrial.report.distribution import distribution
from seatrial.report.overview import MARKS, overview

_STATUS = {"passed": "✓", "warned": "!", "failed": "✗"}


def page(summary: Summary) -> str:
    """The whole page."""
    drawn = {"overview": overview(summary.trials)}
    sections = []
    for trial in summary.trials:
        own = _drawn(trial, summary)
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
        across=words.across_concepts(summary),
        rows=table.verdict_rows(summary),
        is_guarded=any(trial.guards for trial in summary.trials),
        many_methods=len({trial.method for trial in summary.trials}) > 1,
        labels=LABELS,
        marks=MARKS,
        guide=words.GUIDE,
        sections=sections,
        checks=table.checks(summary),
        signs=_STATUS,
        ran=_ran(summary),
        plan=json.dumps(summary.study, indent=2, sort_keys=True, ensure_ascii=False),
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


def _drawn(trial: Trial, summary: Summary) -> dict[str, go.Figure]:
    return {
        "dose-response": figures.dose_response(trial),
        "distribution": distribution(trial),
        "perplexity": figures.perplexity(trial, summary.labels.budget.perplexity_ratio),
        "drift": figures.drift(trial),
        "layers": figures.layers(trial),
    }


def _section(trial: Trial, summary: Summary, ids: Mapping[str, str]) -> dict[str, Any]:
    about = dict(summary.concepts.get(trial.concept, {}))
    return {
        "trial": trial,
        "anchor": words.anchor(trial),
        "figure": ids,
        "about": about.pop("about", ""),
        "facts": about,
        "measured": words.measured(trial, summary),
        "surfaces": words.surfaces(trial, summary),
        "not_the_concept": words.not_the_concept(trial),
        "wrong": words.wrong_items(trial),
        "worst": table.worst_items(trial),
        "best": table.best_items(trial),
        "doses": table.dose_lines(trial),
        "numbers": table.numbers(trial, summary),
        "controls": table.control_lines(trial, summary),
        "prices": table.price_lines(trial),
        "marks": figures.marks(trial),
        "guards": table.guard_lines(trial),
    }


def _ran(summary: Summary) -> dict[str, str]:
    """What was run on what, flat: nested parts of the header get names like ``a, b``."""
    flat = {"study": str(summary.study["name"]), "study id": summary.study_id}

    def add(prefix: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, entry in value.items():
                add(f"{prefix}, {key}" if prefix else str(key), entry)
        elif isinstance(value, (list, tuple)):
            flat[prefix] = ", ".join(map(str, value))
        else:
            flat[prefix] = str(value)

    add("", summary.header)
    seeds = {(c.method, c.seed) for trial in summary.trials for c in trial.controls}
    for method in sorted({method for method, _ in seeds}):
        flat[f"seeds of {method}"] = ", ".join(
            str(s) for m, s in sorted(seeds) if m == method
        )
    flat["seed of the study"] = str(summary.study.get("seed", ""))
    flat["cells"] = f"{summary.cells_stored} stored of {summary.cells_planned} planned"
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
