"""Growth rows as SVG, light enough to be read in a diff."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

mpl.rcParams["svg.hashsalt"] = "fixed"  # equal figures give equal files


def plot(name: str, x: str, y: str, series: dict[str, dict[int, float]]) -> None:
    """Write ``plots/<name>.svg`` with a line for each of *series* (values by x)."""
    folder = Path(__file__).with_name("plots")
    folder.mkdir(exist_ok=True)
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for label, values in series.items():
        axes.plot(list(values), list(values.values()), marker="o", markersize=3, label=label)
    axes.set(xlabel=x, ylabel=y, ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    if len(series) > 1:
        axes.legend()
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
