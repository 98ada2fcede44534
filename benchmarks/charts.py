"""The figures as charts, PNG and SVG: to be read in a README, on light and on dark pages.

They have a background of their own, so that one file does for both.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.contenders import BY_NAME, OURS, PEERS
from benchmarks.results import Measured, Results

_INK: Final = "#1f2937"
_FAINT: Final = "#d5dae1"
_COLOURS: Final = {
    "ours-asyncio": "#2563eb",
    "ours-uvloop": "#1e3a8a",
    "ours-trio": "#60a5fa",
    "node": "#15803d",
    "node-json": "#86c995",
}
_PEER: Final = "#9ca3af"
_STYLE: Final = {
    "font.size": 12,
    "svg.hashsalt": "cluster-client",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(results: Results, directory: Path) -> None:
    """Draw what was measured."""
    with mpl.rc_context(_STYLE):
        if measured := results.scenarios.get("calls"):
            _calls(measured, directory)
        if measured := results.scenarios.get("payloads"):
            _times_node(measured, directory / "payloads", "Payloads echoed")
        if measured := results.scenarios.get("fanout"):
            _times_node(measured, directory / "fanout", "Fan-out to N followers")


def _calls(measured: Measured, directory: Path) -> None:
    """Draw bars of calls per second at 1 and 64 in flight, all contenders."""
    names = [n for n in (*OURS, "node", "node-json", *PEERS) if n in measured.values]
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.42 * len(names) + 1.3), sharey=True)
    for ax, metric, title in zip(
        axes, ("1", "64"), ("one call at a time", "64 calls in flight"), strict=True
    ):
        values = [measured.values[name].get(metric, [0.0]) for name in names]
        medians = [statistics.median(v) for v in values]
        places = list(range(len(names)))[::-1]
        ax.barh(places, medians, color=[_colour(n) for n in names], height=0.72)
        for place, value in zip(places, medians, strict=True):
            ax.text(value + max(medians) * 0.015, place, f"{value:,.0f}", va="center", fontsize=11)
        ax.set_title(title, fontsize=12, loc="left")
        ax.set_xlim(0, max(medians) * 1.17)
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(places, [BY_NAME[name].title for name in names])
    figure.suptitle(
        "Calls per second: a small dict echoed by the leader", x=0.01, ha="left", weight="bold"
    )
    _save(figure, directory / "calls")


def _times_node(measured: Measured, path: Path, title: str) -> None:
    """Draw how many times Node's figure each of ours is, on a logarithmic scale."""
    names = [n for n in (*OURS, "node-json") if n in measured.values]
    metrics = [m for m in measured.metrics if measured.median("node", m)]
    if not names or not metrics:
        return
    figure, ax = plt.subplots(figsize=(10, 4))
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        ratios = [measured.ratio(name, metric, "node") for metric in metrics]
        places = [p + (index - (len(names) - 1) / 2) * width for p in range(len(metrics))]
        heights = [ratio if ratio is not None else float("nan") for ratio in ratios]
        ax.bar(
            places,
            [h - 1 for h in heights],
            width * 0.94,
            bottom=1,
            color=_colour(name),
            label=BY_NAME[name].title,
        )
        _label(ax, places, heights)
    ax.axhline(1, color=_COLOURS["node"], linewidth=2)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low * 0.6, high * 1.3)  # room for the labels
    ax.set_yticks([])
    ax.minorticks_off()
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_visible(False)
    ax.set_xticks(range(len(metrics)), metrics)
    ax.tick_params(axis="x", length=0)
    ax.legend(
        frameon=False,
        ncols=len(names),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),  # above the bars, however high they are
        fontsize=11,
        borderaxespad=0,
    )
    figure.suptitle(
        f"{title}: times the rate of Node's cluster-client (the green line)",
        x=0.01,
        ha="left",
        weight="bold",
    )
    _save(figure, path)


def _label(ax: Any, places: Sequence[float], heights: Sequence[float]) -> None:
    for place, height in zip(places, heights, strict=True):
        if not math.isnan(height):  # not where nothing was measured
            text = f"{height:.0f}" if height >= 10 else f"{height:.1f}"
            above = height >= 1
            ax.annotate(
                text,
                (place, height),
                xytext=(0, 3 if above else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=10,
            )


def _colour(name: str) -> str:
    return _COLOURS.get(name, _PEER)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path.with_suffix(".png"), dpi=160)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
