"""Draws ``docs/speed.svg`` from the newest findings: time and memory against size.

    .venv/bin/python -m benchmarks.figure

By hand, because the figures of the reports need a browser to become a file.
"""

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path

from benchmarks.rows import newest

WIDTH, HEIGHT, LEFT, TOP = 330, 200, 52, 34
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
TITLES = {"seconds": "time (s)", "peak_mib": "peak memory beyond the model (MiB)"}

Line = tuple[str, list[tuple[float, float]]]


def ticks(top: float) -> list[float]:
    """0 and up to five round steps to at least ``top``."""
    top = max(top, 0.01)
    unit = 10.0 ** floor(log10(top))
    step = next(unit * share for share in (0.2, 0.5, 1, 2) if unit * share * 5 >= top)
    return [step * k for k in range(ceil(top / step - 1e-9) + 1)]


def panel(x0: int, y0: int, title: str, below: str, lines: Sequence[Line]) -> str:
    """One plot with its axes from 0, as SVG."""
    w, h = WIDTH - LEFT - 20, HEIGHT - TOP - 40
    across = ticks(max(x for _, line in lines for x, _ in line))
    up = ticks(max(y for _, line in lines for _, y in line))

    def at(x: float, y: float) -> tuple[float, float]:
        return x0 + LEFT + w * x / across[-1], y0 + TOP + h * (1 - y / up[-1])

    parts = [f'<text x="{x0 + LEFT}" y="{y0 + 20}" font-weight="bold">{title}</text>']
    for value in up:
        x, y = at(0, value)
        parts.append(f'<path d="M{x:.1f} {y:.1f}h{w}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in across:
        x, y = at(value, 0)
        parts.append(
            f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{value:g}</text>'
        )
    middle, bottom = at(across[-1] / 2, 0)
    parts.append(
        f'<text x="{middle:.1f}" y="{bottom + 32:.1f}" text-anchor="middle">{below}</text>'
    )
    for (name, line), colour in zip(lines, COLOURS, strict=False):
        places = [at(x, y) for x, y in sorted(line)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in places:
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">'
                f"<title>{name}</title></circle>"
            )
    return "\n".join(parts)


def draw(findings: Sequence[dict]) -> str:
    """The whole figure: what grows from left to right, time above memory."""
    models = sorted({found["model"] for found in findings})
    parts = []
    for column, axis in enumerate(("items", "steerings")):
        mine = [found for found in findings if found["axis"] == axis]
        other = "steerings" if axis == "items" else "items"
        below = f"{axis} (at {mine[0][other]} {other})"
        for row, (quantity, title) in enumerate(TITLES.items()):
            lines: list[Line] = [
                (name, [(f[axis], f[quantity]) for f in mine if f["model"] == name])
                for name in models
            ]
            parts.append(panel(column * WIDTH, row * HEIGHT, title, below, lines))
    for k, (name, colour) in enumerate(zip(models, COLOURS, strict=False)):
        x, y = LEFT + k * 140, 2 * HEIGHT + 14
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 10}" y="{y}">{name}</text>')
    size = f"{2 * WIDTH} {2 * HEIGHT + 24}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
        'font-family="sans-serif" font-size="11" fill="#333">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{chr(10).join(parts)}\n</svg>\n'
    )


def main() -> None:
    """Draw the newest findings."""
    findings = newest("growth", ("model", "axis", "items", "steerings"))
    if not findings:
        print("no growth was measured yet; run `make bench`")
        return
    file = Path("docs/speed.svg")
    file.write_text(draw(findings), encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
