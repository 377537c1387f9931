"""Draws a dashboard of Grafana as SVG where there is no Grafana: its panels, with what Prometheus says.

Only what our own dashboard has: rows, stats, time series (lines or stacked), one table.
"""

import html
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.harness.prometheus import Labels, Prometheus, filled_in

COLUMN, LINE, GAP = 50, 30, 4
_POINTS = 120
_DAY = 86_400
_COLORS = {
    "green": "#73bf69",
    "light-green": "#96d98d",
    "yellow": "#fade2a",
    "orange": "#ff9830",
    "red": "#f2495c",
    "blue": "#5794f2",
    "light-blue": "#8ab8ff",
    "text": "#9fa3ad",
}
_PALETTE = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")
_STYLE = """
text{font-family:Inter,Helvetica,Arial,sans-serif;font-size:11px;fill:#9fa3ad}
.t{font-size:13px;fill:#ccccdc}.q{font-size:16px;fill:#ccccdc;font-weight:600}
.v{font-size:34px;font-weight:500;text-anchor:middle}.c{font-size:12px;fill:#ccccdc}
.e{text-anchor:end}.m{text-anchor:middle}
.p{fill:#181b1f;stroke:#2a2d33}.g{stroke:#2a2d33;stroke-width:1}
"""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Span:
    """What time the picture shows, and what stands for `$__rate_interval` in it."""

    since: float
    until: float
    interval: str

    @property
    def step(self) -> float:
        return (self.until - self.since) / _POINTS


def draw(
    board: dict[str, Any], prometheus: Prometheus, span: Span, *, rows: Sequence[str] = ()
) -> str:
    """Return the board as SVG; with `rows` only those."""
    wanted, shown = not rows, []
    for panel in board["panels"]:
        if panel["type"] == "row" and rows:
            wanted = panel["title"] in rows
        if wanted:
            shown.append(panel)
    top = min(panel["gridPos"]["y"] for panel in shown)
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown)
    width, height = 24 * COLUMN + GAP, (bottom - top) * LINE + GAP
    body = [f'<rect width="{width}" height="{height}" fill="#111217"/>']
    for panel in shown:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN + GAP, (place["y"] - top) * LINE + GAP
        box = Box(x, y, place["w"] * COLUMN - GAP, place["h"] * LINE - GAP)
        body += _DRAWN[panel["type"]](panel, box, prometheus, span)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def said(value: float, unit: str) -> str:
    """Return a value in a unit of Grafana's, short."""
    return _UNITS[unit](value) if math.isfinite(value) else "no data"


def _short(value: float) -> str:
    return f"{value / 1000:.3g} K" if abs(value) >= 10_000 else f"{value:.4g}"


def _seconds(value: float) -> str:
    if abs(value) < 1:
        return f"{1000 * value:.3g} ms" if value else "0 s"
    if abs(value) < 60:
        return f"{value:.3g} s"
    if abs(value) >= 2 * _DAY:
        return f"{value / _DAY:.3g} days"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"


def _bytes(value: float) -> str:
    power = min(3, int(math.log(max(1, abs(value)), 1024)))
    return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"


_UNITS: dict[str, Callable[[float], str]] = {
    "short": _short,
    "percentunit": lambda value: f"{100 * value:.3g} %",
    "s": _seconds,
    "dtdurations": _seconds,
    "bytes": _bytes,
    "reqps": lambda value: f"{_short(value)} req/s",
    "ops": lambda value: f"{_short(value)} /s",
}


def _text(x: float, y: float, words: str, kind: str = "", color: str = "") -> str:
    fill = f' style="fill:{color}"' if color else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{fill}>{html.escape(words)}</text>'


def _frame(panel: dict[str, Any], box: Box) -> list[str]:
    shape = f'<rect x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}" rx="2" class="p"/>'
    return [shape, _text(box.x + 10, box.y + 20, panel["title"], "t")]


def _row(panel: dict[str, Any], box: Box, _: Prometheus, _span: Span) -> list[str]:
    return [_text(box.x + 6, box.y + 19, panel["title"], "q")]


def _stat(panel: dict[str, Any], box: Box, prometheus: Prometheus, span: Span) -> list[str]:
    found = prometheus.query(filled_in(panel["targets"][0]["expr"]), span.until)
    value = found[0][1] if found else math.nan
    defaults = panel["fieldConfig"]["defaults"]
    steps = defaults["thresholds"]["steps"]
    color = next(one["color"] for one in reversed(steps) if (one["value"] or -math.inf) <= value)
    words = said(value, defaults["unit"])
    for mapping in defaults.get("mappings", []):
        words = mapping["options"].get(f"{value:g}", {"text": words})["text"]
    at = box.x + box.w / 2, box.y + box.h / 2 + 20
    return [*_frame(panel, box), _text(*at, words, "v", _COLORS[color])]


def _table(panel: dict[str, Any], box: Box, prometheus: Prometheus, span: Span) -> list[str]:
    options = panel["transformations"][0]["options"]
    names = sorted(options["indexByName"], key=options["indexByName"].get)
    found = prometheus.query(filled_in(panel["targets"][0]["expr"]), span.until)
    lines = _frame(panel, box)
    wide = [0.2, 0.32, 0.12, 0.14, 0.12, 0.1]
    at = [box.x + 10 + sum(wide[:i]) * (box.w - 20) for i in range(len(wide))]
    for x, name in zip(at, names, strict=True):
        lines.append(_text(x, box.y + 44, options["renameByName"].get(name, name)))
    for number, (labels, value) in enumerate(found[: int((box.h - 56) / 22)]):
        cells = [labels.get(name, "") for name in names[:-1]] + [said(value, "dtdurations")]
        y = box.y + 66 + 22 * number
        lines.append(f'<path d="M{box.x + 10} {y - 16:g}h{box.w - 20:g}" class="g"/>')
        lines += [_text(x, y, cell, "c") for x, cell in zip(at, cells, strict=True)]
    return lines


def _series(panel: dict[str, Any], box: Box, prometheus: Prometheus, span: Span) -> list[str]:
    defaults = panel["fieldConfig"]["defaults"]
    fixed = {
        one["matcher"]["options"]: _COLORS[one["properties"][0]["value"]["fixedColor"]]
        for one in panel["fieldConfig"]["overrides"]
    }
    found: list[tuple[str, str, Points]] = []
    for target in panel["targets"]:
        query = filled_in(target["expr"], interval=span.interval)
        for labels, points in prometheus.series(
            query, since=span.since, until=span.until, step=span.step
        ):
            name = _legend(target["legendFormat"], labels)
            color = fixed.get(name, _PALETTE[len(found) % len(_PALETTE)])
            found.append((name, color, [point for point in points if math.isfinite(point[1])]))
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    most = _most([points for *_, points in found], stacked=stacked)
    plot = _Plot(box, span, most, defaults["unit"])
    lines = [*_frame(panel, box), *plot.grid()]
    lines += plot.areas(found) if stacked else plot.lines(found)
    return lines + plot.legend(
        [
            (name, color)
            for name, color, points in found
            if not stacked or any(value for _, value in points)
        ]
    )


class _Plot:
    """The place of a panel's curves: time to the right, values from 0 up."""

    def __init__(self, box: Box, span: Span, most: float, unit: str) -> None:
        self._box, self._span, self._unit = box, span, unit
        self._x, self._w = box.x + 66, box.w - 80
        self._y, self._h = box.y + 34, box.h - 84
        self._ticks = _ticks(most, unit)

    def x(self, at: float) -> float:
        return self._x + self._w * (at - self._span.since) / (self._span.until - self._span.since)

    def y(self, value: float) -> float:
        return self._y + self._h * (1 - value / self._ticks[-1])

    def path(self, points: Points) -> str:
        return "L".join(f"{self.x(at):.1f} {self.y(value):.1f}" for at, value in points)

    def grid(self) -> list[str]:
        lines = []
        for tick in self._ticks:
            y = self.y(tick)
            lines.append(f'<path d="M{self._x:g} {y:.1f}h{self._w:g}" class="g"/>')
            lines.append(_text(self._x - 6, round(y + 4, 1), said(tick, self._unit), "e"))
        for at in _minutes(self._span, at_most=int(self._w / 60)):
            clock = time.strftime("%H:%M", time.gmtime(at))
            lines.append(_text(round(self.x(at), 1), self._y + self._h + 16, clock, "m"))
        return lines

    def legend(self, names: list[tuple[str, str]]) -> list[str]:
        lines, x, y = [], self._box.x + 12, self._box.y + self._box.h - 12
        for name, color in names:
            width = 32 + 6.2 * len(name)
            if x + width > self._box.x + self._box.w:
                break
            lines.append(f'<rect x="{x:g}" y="{y - 6:g}" width="12" height="4" fill="{color}"/>')
            lines.append(_text(round(x + 17, 1), y, name))
            x += width
        return lines

    def lines(self, found: list[tuple[str, str, Points]]) -> list[str]:
        return [
            f'<path d="M{self.path(piece)}" fill="none" stroke="{color}"/>'
            for _, color, points in found
            for piece in _pieces(points, self._span.step)
        ]

    def areas(self, found: list[tuple[str, str, Points]]) -> list[str]:
        """Draw each on those before it."""
        lines = []
        times = [self._span.since + number * self._span.step for number in range(_POINTS + 1)]
        under = [0.0] * len(times)
        for _, color, points in found:
            over = list(under)
            for at, value in points:
                over[round((at - self._span.since) / self._span.step)] += value
            if over != under:
                edge = [
                    *zip(times, over, strict=True),
                    *reversed([*zip(times, under, strict=True)]),
                ]
                fill = f'fill="{color}" fill-opacity=".7" stroke="{color}" stroke-width=".5"'
                lines.append(f'<path d="M{self.path(edge)}Z" {fill}/>')
            under = over
        return lines


_DRAWN: dict[str, Callable[[dict[str, Any], Box, Prometheus, Span], list[str]]] = {
    "row": _row,
    "stat": _stat,
    "table": _table,
    "timeseries": _series,
}


def _legend(form: str, labels: Labels) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), form)


def _most(series: list[Points], *, stacked: bool) -> float:
    if not stacked:
        return max((value for points in series for _, value in points), default=0)
    sums: dict[float, float] = {}
    for points in series:
        for at, value in points:
            sums[at] = sums.get(at, 0) + value
    return max(sums.values(), default=0)


def _ticks(most: float, unit: str) -> list[float]:
    """Return a few numbers that are round in the unit, from 0 to at least the most."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    if unit == "bytes":
        step = 2.0 ** math.ceil(math.log2(rough))
    elif unit == "s" and rough > 15:
        step = next(one for one in (30, 60, 120, 300, 600, 1800, 3600) if one >= min(rough, 3600))
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def _minutes(span: Span, *, at_most: int) -> list[float]:
    """Return full minutes, with room for their words between."""
    whole = span.until - span.since
    step = next(one for one in (60, 120, 300, 600, 1800, 3600) if whole / one <= min(6, at_most))
    first = math.ceil(span.since / step) * step
    return [at for at in range(first, int(span.until), step) if at - span.since > step / 4]


def _pieces(points: Points, step: float) -> list[Points]:
    """Part points where some are missing between them."""
    pieces: list[Points] = []
    for at, value in points:
        if not pieces or at - pieces[-1][-1][0] > 1.5 * step:
            pieces.append([])
        pieces[-1].append((at, value))
    return pieces
