"""A chart of lines as SVG: several panels side by side, with a common legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 400, 280  # of a panel
LEFT, TOP, RIGHT, BOTTOM = 52, 40, 16, 44  # around what is drawn in it
LEGEND = 24  # high, a row
COLOURS = ("#1b6ca8", "#5aa9e6", "#2e8b57", "#c0582b")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """`lines` and `dashed` by the name in the legend, `x` at the same distances whatever they
    are. Both axes have their zero or their first value at the corner."""

    title: str
    across: str
    x: Sequence[int]
    lines: Mapping[str, Points]
    dashed: Mapping[str, Points] = field(default_factory=dict)


def svg(panels: Sequence[Panel], note: str) -> str:
    """A line's colour is that of its name's place in the first panel."""
    names = list(panels[0].lines)
    width, height = WIDTH * len(panels), HEIGHT + 2 * LEGEND
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        body += [f'<g transform="translate({number * WIDTH} 0)">', *_panel(panel, names), "</g>"]
    for number, name in enumerate(names):
        x, y = LEFT + 110 * number, HEIGHT + LEGEND / 2
        body.append(f'<path d="M{x} {y}h24" stroke="{_colour(name, names)}" stroke-width="2"/>')
        body.append(_text(x + 30, y + 4, name, "start"))
    body += [_text(LEFT, HEIGHT + 1.5 * LEGEND + 4, note, "start"), "</svg>", ""]
    return "\n".join(body)


def _panel(panel: Panel, names: Sequence[str]) -> list[str]:
    everything = [*panel.lines.values(), *panel.dashed.values()]
    step = _step(max(y for points in everything for _, y in points))
    top = step
    while top < max(y for points in everything for _, y in points):
        top += step
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (right - LEFT) * panel.x.index(int(x)) / (len(panel.x) - 1)
        return across, bottom - (bottom - TOP) * y / top

    body = [_text(LEFT, TOP - 16, panel.title, "start")]
    for level in range(0, int(top) + 1, int(step)):
        _, y = place(panel.x[0], level)
        body.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        body.append(_text(LEFT - 6, y + 4, str(level), "end"))
    for value in panel.x:
        body.append(_text(place(value, 0)[0], bottom + 16, str(value), "middle"))
    body.append(_text((LEFT + right) / 2, bottom + 34, panel.across, "middle"))
    for lines, dash in ((panel.dashed, ' stroke-dasharray="4 4"'), (panel.lines, "")):
        for name, points in lines.items():
            colour, places = _colour(name, names), [place(*point) for point in points]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            body.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            if not dash:
                body += [
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places
                ]
    return body


def _step(most: float) -> float:
    """Between two levels of which there are six at most."""
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200) if most <= 6 * step)


def _colour(name: str, names: Sequence[str]) -> str:
    return COLOURS[names.index(name)]


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333">{escape(words)}</text>'
    )
