"""Numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recbole_mm.report.statistics import spread


def figure(values: Sequence[float], bold: bool = False) -> str:
    """``mean ± std`` to four decimals, without the spread when there is none."""
    found = spread(values)
    if found is None:
        return "–"
    text = f"{found.mean:.4f}" if found.std == 0 else f"{found.mean:.4f} ± {found.std:.4f}"
    return f"**{text}**" if bold else text


def percent(change: float | None) -> str:
    """A relative change with its sign."""
    return "–" if change is None else f"{change:+.1%}"


def p_text(p: float | None) -> str:
    """A p-value to three decimals."""
    if p is None:
        return "–"
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def mark(p: float | None, difference: float, smaller_is_better: bool = False) -> str:
    """▲ ▼ for better and worse with p < .01, △ ▽ with p < .05; empty where that is chance."""
    if p is None or p >= 0.05 or difference == 0:
        return ""
    return ("▼▽", "▲△")[(difference < 0) == smaller_is_better][p >= 0.01]


def interval(low: float, high: float) -> str:
    """Of a difference."""
    return f"[{low:+.4f}, {high:+.4f}]"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def caption_text(caption: Mapping[str, str]) -> str:
    """What was done, heading by heading."""
    return " ".join(f"{heading.capitalize()}: {words}." for heading, words in caption.items())
