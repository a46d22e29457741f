"""What a measurement gives: one figure beside another, whether it holds its goal, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


def median(samples: Sequence[float]) -> float:
    """The middle one; the mean of the two where there is none."""
    ordered = sorted(samples)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """The smallest that a quarter, and three quarters, do not exceed."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return ordered[min(last, -(-len(ordered) // 4) - 1)], ordered[
        min(last, -(-3 * len(ordered) // 4) - 1)
    ]


def p95(samples: Sequence[float]) -> float:
    """The smallest that 95 % do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, -(-95 * len(ordered) // 100) - 1)]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure is to be at most, or at least, so much: of its unit, or of what it stands beside."""

    bound: float
    of_ratio: bool = False
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}{' x' if self.of_ratio else ''}"

    def held(self, figure: float) -> bool:
        """Whether the figure is on the right side."""
        return figure >= self.bound if self.at_least else figure <= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    name: str
    what: str
    value: float
    unit: str
    goal: Goal | None = None  # None: shown for what it tells, with nothing to hold
    beside: str | None = None  # what it is compared with; None: nothing
    beside_value: float | None = None
    p95: float | None = None  # None: one measurement, or a mean
    n: int = 1
    more: dict[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The value over what it stands beside."""
        return self.value / self.beside_value if self.beside_value else None

    @property
    def held(self) -> bool | None:
        """Whether the goal is held; None where there is none."""
        if self.goal is None:
            return None
        figure = self.ratio if self.goal.of_ratio else self.value
        return figure is not None and self.goal.held(figure)

    def json(self) -> dict[str, object]:
        """The figure as it stands in ``build/bench.json``."""
        told: dict[str, object] = {
            "value": _short(self.value),
            "unit": self.unit,
            "goal": str(self.goal) if self.goal is not None else None,
            "beside": self.beside,
            "beside_value": _short(self.beside_value),
            "ratio": _short(self.ratio),
            "held": self.held,
            "p95": _short(self.p95),
            "n": self.n,
        }
        return told | self.more


def _short(value: float | None) -> float | None:
    return float(f"{value:.4g}") if value is not None else None


def table(figures: Sequence[Figure]) -> str:
    """The figures as a plain table."""
    rows = [("WHAT", "MEDIAN", "P95", "N", "BESIDE", "", "RATIO", "GOAL", "")]
    rows += [
        (
            figure.what,
            f"{figure.value:.4g} {figure.unit}",
            f"{figure.p95:.4g}" if figure.p95 is not None else "",
            str(figure.n),
            figure.beside or "",
            f"{figure.beside_value:.4g}" if figure.beside_value is not None else "",
            f"{figure.ratio:.3g}" if figure.ratio is not None else "",
            str(figure.goal) if figure.goal is not None else "",
            {True: "held", False: "MISSED", None: ""}[figure.held],
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
