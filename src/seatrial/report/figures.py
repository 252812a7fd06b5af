"""The figures of a trial, one function each; all text from data is escaped."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import plotly.graph_objects as go

from seatrial.analysis.records import Trial
from seatrial.analysis.verdict import Price
from seatrial.types import Estimate

# Okabe and Ito's palette, told apart with any colour vision; grey is kept for controls.
BLUE, SKY, ORANGE, WRONG, GREY = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#8A8F98"
RIBBON, BAND, SHADE = (
    "rgba(0,114,178,0.20)",
    "rgba(138,143,152,0.28)",
    "rgba(213,94,0,0.07)",
)

SYMBOLS = {"circle-open": "○", "square-open": "□", "diamond-open": "◇", "cross-open": "+"}
"""Markers of the controls and baselines of a trial, in their order, and the same in words;
all from the last one on share it."""

SIZE = 13
"""Of letters, in pixels."""
AXIS = {
    "fixedrange": True,
    "automargin": True,
    "zeroline": False,
    "gridcolor": "#e4e6ea",
    "linecolor": "#9aa0a8",
    "title": {"standoff": 8, "font": {"size": SIZE}},
}
"""What all axes share; nothing zooms, so that a page scrolls under a finger."""


def canvas(height: int, **layout: object) -> go.Figure:
    """An empty figure: no chart junk, sized by the page, drawn on its background."""
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 56, "r": 14, "t": 14, "b": 44},
            "font": {"family": "system-ui, sans-serif", "size": SIZE, "color": "#1d2125"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "showlegend": False,
            "dragmode": False,
            "hoverlabel": {"align": "left"},
            "xaxis": {**AXIS, "showgrid": False, "showline": True, "ticks": "outside"},
            "yaxis": AXIS,
            **layout,
        }
    )


def dose_response(trial: Trial) -> go.Figure:
    """Mean change against dose, with its interval and what the controls do at each dose."""
    nothing = Estimate(0.0, 0.0, 0.0, trial.base.n)
    points = sorted(
        [(point.dose, point.change, point.band) for point in trial.curve]
        + [(0.0, nothing, nothing)],
        key=lambda point: point[0],
    )
    doses, changes, _ = map(list, zip(*points, strict=True))
    bands = [(dose, band) for dose, _, band in points if band is not None]
    figure = canvas(320)
    figure.add_trace(
        _ribbon([dose for dose, _ in bands], [band for _, band in bands], BAND)
    )
    figure.add_trace(_ribbon(doses, changes, RIBBON))
    values = [change.value for change in changes]
    centre = sum(doses) / len(doses), sum(values) / len(values)
    slope = trial.response.steerability.value
    figure.add_scatter(
        x=[doses[0], doses[-1]],
        y=[centre[1] + slope * (dose - centre[0]) for dose in (doses[0], doses[-1])],
        mode="lines",
        line={"color": BLUE, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=doses,
        y=values,
        mode="lines+markers",
        line={"color": BLUE, "width": 2.5},
        marker={"size": 7},
        hovertext=[
            f"dose {dose:+g}<br>change {change}<br>controls {band or 'not measured'}"
            if dose
            else "dose 0: the unsteered model, from which change is counted"
            for dose, change, band in points
        ],
        hoverinfo="text",
    )
    _zero_line(figure)
    figure.update_xaxes(title_text="dose (1: as fitted)", tickvals=doses)
    figure.update_yaxes(title_text=f"mean change, {escape(trial.unit)}")
    return figure


def perplexity(trial: Trial, budget: float) -> go.Figure:
    """What the steering costs on neutral prose, against what is acceptable."""
    figure = _price(trial, [price.perplexity_ratio for price in trial.prices], 1.0)
    for number, (name, prices) in enumerate(trial.control_prices.items()):
        ratios = [price.perplexity_ratio for price in prices]
        _control_marks(figure, number, name, prices, ratios)
    doses = [price.dose for price in trial.prices] or [-1.0, 1.0]
    figure.add_scatter(
        x=[min(doses), max(doses)],
        y=[budget, budget],
        mode="lines",
        line={"color": WRONG, "width": 1.5, "dash": "dash"},
        hovertext=f"budget {budget:g}",
        hoverinfo="text",
    )
    highest = max((price.perplexity_ratio.high for price in trial.prices), default=1.0)
    figure.update_yaxes(
        title_text="perplexity, × unsteered", type="log" if highest > 5 else "linear"
    )
    return figure


def drift(trial: Trial) -> go.Figure:
    """How far the next-token distribution drifts on neutral prose."""
    figure = _price(trial, [price.kl for price in trial.prices], 0.0)
    for number, (name, prices) in enumerate(trial.control_prices.items()):
        _control_marks(figure, number, name, prices, [price.kl for price in prices])
    figure.update_yaxes(title_text="KL, nats per token", rangemode="tozero")
    return figure


def candidates(trial: Trial) -> go.Figure:
    """The slope of each candidate on the select split; the chosen one is filled."""
    figure = canvas(290)
    points = trial.candidates
    figure.add_scatter(
        x=[escape(point.settings) for point in points],
        y=[point.slope.value for point in points],
        error_y=_whiskers([point.slope for point in points]),
        mode="markers",
        line={"color": BLUE},
        marker={
            "color": BLUE,
            "opacity": 1,
            "size": [13 if point.is_chosen else 8 for point in points],
            "symbol": ["circle" if point.is_chosen else "circle-open" for point in points],
            "line": {"width": 2, "color": BLUE},
        },
        hovertext=[
            f"{escape(point.settings)}{' (chosen)' if point.is_chosen else ''}"
            f"<br>{point.slope}"
            for point in points
        ],
        hoverinfo="text",
    )
    _zero_line(figure)
    figure.update_xaxes(title_text="candidate", type="category")
    figure.update_yaxes(title_text=f"slope, {escape(trial.unit)} per dose")
    return figure


def _price(trial: Trial, estimates: Sequence[Estimate], without: float) -> go.Figure:
    figure = canvas(290)
    nothing = Estimate(without, without, without, trial.base.n)
    points = sorted(
        [
            *zip([price.dose for price in trial.prices], estimates, strict=True),
            (0.0, nothing),
        ],
        key=lambda point: point[0],
    )
    figure.add_scatter(
        x=[dose for dose, _ in points],
        y=[estimate.value for _, estimate in points],
        error_y=_whiskers([estimate for _, estimate in points]),
        mode="lines+markers",
        line={"color": BLUE, "width": 2},
        marker={"size": 7},
        cliponaxis=False,
        hovertext=[
            f"dose {dose:+g}: {estimate}" if dose else "unsteered"
            for dose, estimate in points
        ],
        hoverinfo="text",
    )
    figure.update_xaxes(title_text="dose", tickvals=[dose for dose, _ in points])
    return figure


def marks(trial: Trial) -> str:
    """The legend of its controls and baselines: ``○ random, □ shuffled``."""
    signs = list(SYMBOLS.values())
    return ", ".join(
        f"{signs[min(number, len(signs) - 1)]} {name}"
        for number, name in enumerate(trial.control_prices)
    )


def _control_marks(
    figure: go.Figure,
    number: int,
    name: str,
    prices: Sequence[Price],
    estimates: Sequence[Estimate],
) -> None:
    # A shift aside keeps the intervals of controls from hiding each other.
    ticks = sorted(figure.layout.xaxis.tickvals)  # pyright: ignore[reportAttributeAccessIssue]
    symbol = list(SYMBOLS)[min(number, len(SYMBOLS) - 1)]
    aside = 0.2 * min((b - a for a, b in pairwise(ticks)), default=1.0) * (number + 1)
    figure.add_scatter(
        x=[price.dose + aside for price in prices],
        y=[estimate.value for estimate in estimates],
        error_y={**_whiskers(estimates), "color": GREY},
        mode="markers",
        marker={"color": GREY, "size": 8, "symbol": symbol},
        hovertext=[
            f"{escape(name)} at dose {price.dose:+g}: {estimate}"
            for price, estimate in zip(prices, estimates, strict=True)
        ],
        hoverinfo="text",
    )


def _ribbon(doses: list[float], estimates: list[Estimate], colour: str) -> go.Scatter:
    return go.Scatter(
        x=[*doses, *doses[::-1]],
        y=[*(e.high for e in estimates), *(e.low for e in estimates[::-1])],
        fill="toself",
        fillcolor=colour,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )


def _whiskers(estimates: Sequence[Estimate]) -> dict[str, object]:
    return {
        "array": [estimate.high - estimate.value for estimate in estimates],
        "arrayminus": [estimate.value - estimate.low for estimate in estimates],
        "thickness": 1.5,
        "width": 3,
    }


def _zero_line(figure: go.Figure) -> None:
    figure.add_hline(y=0, line={"color": "#9aa0a8", "width": 1}, layer="below")
