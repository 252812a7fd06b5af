"""How the items differ: the slope of each of them, the wrong side shaded."""

from collections.abc import Sequence
from html import escape
from textwrap import wrap

import numpy as np
import plotly.graph_objects as go

from seatrial.analysis.records import Effect, Trial
from seatrial.report.figures import AXIS, BLUE, SHADE, SIZE, WRONG, canvas
from seatrial.report.words import percent

_LONGEST = 240
"""Characters of an item's text that are shown on hovering."""


def distribution(trial: Trial) -> go.Figure:
    """A histogram of slopes over a strip of dots, one dot an item."""
    slopes = np.array([effect.slope for effect in trial.effects])
    width, centres, counts = _bins(slopes)
    low, high = min(-width, centres[0] - width), max(width, centres[-1] + width)
    title = {"text": "items", "standoff": 8, "font": {"size": SIZE}}
    figure = canvas(
        320,
        margin={"l": 56, "r": 14, "t": 34, "b": 44},
        yaxis={**AXIS, "domain": [0.27, 1], "rangemode": "tozero", "title": title},
        yaxis2={**AXIS, "domain": [0, 0.2], "range": [-0.2, 1.2], "visible": False},
    )
    figure.add_trace(_bars(width, centres, counts))
    figure.add_trace(_dots(trial.effects))
    _shade(figure, low)
    figure.add_annotation(
        text=f"wrong way or not at all: {percent(trial.response.anti_steerable)}",
        **{"x": 0, "xref": "paper", "xanchor": "left"},
        **{"y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 6},
        showarrow=False,
        font={"color": WRONG, "size": SIZE},
    )
    figure.update_xaxes(
        title_text=f"slope of each item, {escape(trial.unit)} per dose", range=[low, high]
    )
    figure.update_layout(xaxis_anchor="free", xaxis_position=0)
    return figure


def _bars(width: float, centres: Sequence[float], counts: Sequence[int]) -> go.Bar:
    return go.Bar(
        x=centres,
        y=counts,
        width=width * 0.94,
        marker={"color": [WRONG if centre < 0 else BLUE for centre in centres]},
        hovertext=[
            f"{count} items between {centre - width / 2:.3g} and {centre + width / 2:.3g}"
            for centre, count in zip(centres, counts, strict=True)
        ],
        hoverinfo="text",
    )


def _dots(effects: Sequence[Effect]) -> go.Scatter:
    return go.Scatter(
        x=[effect.slope for effect in effects],
        # Multiples of the golden ratio spread the dots evenly, the same way each time.
        y=[(k * 0.618034) % 1 for k in range(len(effects))],
        yaxis="y2",
        mode="markers",
        marker={
            "size": 7,
            "opacity": 0.65,
            "color": [WRONG if effect.slope <= 0 else BLUE for effect in effects],
        },
        hovertext=[_hover(effect) for effect in effects],
        hoverinfo="text",
    )


def _shade(figure: go.Figure, low: float) -> None:
    """From the left end to 0, over the whole height."""
    tall = {"y0": 0, "y1": 1, "yref": "paper"}
    figure.add_shape(type="rect", x0=low, x1=0, **tall, line_width=0, fillcolor=SHADE)
    line = {"color": "#9aa0a8", "width": 1}
    figure.add_shape(type="line", x0=0, x1=0, **tall, line=line)


def _bins(slopes: np.ndarray) -> tuple[float, list[float], list[int]]:
    """Bars with an edge at 0; each holds its upper edge, so 0 is on the wrong side."""
    reach = max(float(np.ptp(slopes)), float(np.abs(slopes).max()), 1e-9)
    width = reach / min(max(2 * round(len(slopes) ** 0.5), 6), 24)
    number = np.ceil(slopes / width).astype(int) - 1
    first, last = int(number.min()), int(number.max())
    counts = [int((number == k).sum()) for k in range(first, last + 1)]
    return width, [(k + 0.5) * width for k in range(first, last + 1)], counts


def _hover(effect: Effect) -> str:
    text = effect.text if len(effect.text) <= _LONGEST else f"{effect.text[:_LONGEST]} …"
    lines = [escape(line) for line in wrap(" ".join(text.split()), 60)]
    return "<br>".join([f"slope {effect.slope:+.3g}", *lines])
