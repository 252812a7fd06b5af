"""All trials in one look: which slopes leave the band of their controls."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from seatrial.analysis.records import Trial
from seatrial.analysis.verdict import Label
from seatrial.report.figures import AXIS, BLUE, GREY, ORANGE, SKY, WRONG, canvas
from seatrial.report.words import short

MARKS: dict[Label, tuple[str, str]] = {
    "works": (BLUE, "circle"),
    "works at a price": (SKY, "diamond"),
    "unreliable": (ORANGE, "triangle-up"),
    "no better than a control": (GREY, "circle"),
    "no effect": (GREY, "circle-open"),
    "reverses": (WRONG, "square"),
    "not judged": (GREY, "x"),
}
"""Colour and symbol of each verdict."""

_ROW, _GAP, _EDGE = 34, 92, 50
"""Pixels of a row, between two panels, and below the last one."""


def overview(trials: Sequence[Trial]) -> go.Figure:
    """One panel a target, since units differ; one row a trial, its control band in grey."""
    panels: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        panels.setdefault((trial.target, trial.unit), []).append(trial)
    inner = sum(_ROW * len(rows) for rows in panels.values()) + _GAP * (len(panels) - 1)
    top = 34
    figure = canvas(
        inner + top + _EDGE,
        margin={"l": 60, "r": 16, "t": top, "b": _EDGE},
        hovermode="closest",
    )
    varied = [
        key
        for key in ("label", "model", "run")
        if len({getattr(trial, key) for trial in trials}) > 1
    ]
    ceiling = inner
    for number, ((target, unit), rows) in enumerate(panels.items(), start=1):
        floor = ceiling - _ROW * len(rows)
        _panel(figure, number, rows, (max(floor / inner, 0.0), ceiling / inner), varied)
        figure.add_annotation(
            text=f"<b>{escape(target)}</b>",
            **{"x": 0, "xref": "paper", "xanchor": "left"},
            **{"y": ceiling / inner, "yref": "paper", "yanchor": "bottom", "yshift": 6},
            showarrow=False,
        )
        figure.update_layout(
            {f"xaxis{number}": {"title": {"text": f"mean slope, {escape(unit)} per dose"}}}
        )
        ceiling = floor - _GAP
    return figure


def _panel(
    figure: go.Figure,
    number: int,
    trials: Sequence[Trial],
    domain: tuple[float, float],
    varied: Sequence[str],
) -> None:
    places = list(range(len(trials)))[::-1]
    names = [
        escape(
            ", ".join([trial.behaviour, *(short(getattr(trial, key)) for key in varied)])
        )
        for trial in trials
    ]
    x_axis = {
        "range": _range(trials),
        "anchor": f"y{number}",
        "showgrid": True,
        "showline": True,
        "ticks": "outside",
        "zeroline": True,
        "zerolinecolor": "#9aa0a8",
    }
    y_axis = {
        "domain": domain,
        "anchor": f"x{number}",
        "tickvals": places,
        "ticktext": names,
        "range": [-0.6, len(trials) - 0.4],
        "showgrid": False,
    }
    figure.update_layout(
        {f"xaxis{number}": {**AXIS, **x_axis}, f"yaxis{number}": {**AXIS, **y_axis}}
    )
    axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
    for place, trial in zip(places, trials, strict=True):
        if trial.band is not None:
            figure.add_scatter(
                x=[trial.band.low, trial.band.high],
                y=[place, place],
                mode="lines",
                line={"color": "rgba(138,143,152,0.38)", "width": 15},
                hoverinfo="skip",
                **axes,
            )
        figure.add_scatter(**_mark(trial, place), **axes)


def _range(trials: Sequence[Trial]) -> list[float]:
    """Wide enough for every band and interval, 0 included, with some air."""
    bands = [trial.band for trial in trials if trial.band]
    estimates = [*bands, *(trial.response.steerability for trial in trials)]
    low = min(0.0, *(estimate.low for estimate in estimates))
    high = max(0.0, *(estimate.high for estimate in estimates))
    air = 0.04 * (high - low) or 1.0
    return [low - air, high + air]


def _mark(trial: Trial, place: int) -> dict[str, object]:
    slope = trial.response.steerability
    colour, symbol = MARKS[trial.verdict.label]
    band = f"control band {trial.band.ends}" if trial.band else "no controls"
    return {
        "x": [slope.value],
        "y": [place],
        "error_x": {
            "array": [slope.high - slope.value],
            "arrayminus": [slope.value - slope.low],
            "color": colour,
            "thickness": 2.5,
            "width": 0,
        },
        "mode": "markers",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": 12,
            "line": {"width": 2, "color": colour},
        },
        "hovertext": f"{escape(trial.behaviour)}: {trial.verdict.label}<br>"
        f"mean slope {slope}<br>{band}",
        "hoverinfo": "text",
    }
