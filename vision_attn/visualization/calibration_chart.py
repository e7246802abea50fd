"""Chart of the calibration of evidence: measured effect of each cell over the evidence in it."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

SHARE = 99.5  # percent of the cells that the axes hold; single extreme cells are cut off
BLUE, ORANGE, GRAY = "#3b6ea5", "#d9822b", "#888888"


def calibration_chart(said: NDArray[np.float64], measured: NDArray[np.float64]) -> Figure:
    """Draw one dot per cell, the diagonal (maps say what is true) and the least-squares line.

    Args:
        said: (cells,), the evidence in each cell, in logits.
        measured: (cells,), the drop of the logit when the cell is deleted.
    """
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    end = max(float(np.percentile(np.abs(np.concatenate([said, measured])), SHARE)), 1e-6)
    axes.axhline(0, color=GRAY, linewidth=0.5)
    axes.axvline(0, color=GRAY, linewidth=0.5)
    axes.scatter(said, measured, s=5, alpha=0.35, color=BLUE, linewidths=0, label="a cell")
    axes.plot([-end, end], [-end, end], ":", color=GRAY, label="what maps say is what happens")
    if np.ptp(said) > 0:
        slope, start = np.polyfit(said, measured, 1)
        line = [start - slope * end, start + slope * end]
        axes.plot([-end, end], line, color=ORANGE, label=f"what happens (slope {slope:.2f})")
    axes.set_xlim(-end, end)
    axes.set_ylim(-end, end)
    axes.set_xlabel("evidence in the cell, in logits")
    axes.set_ylabel("drop of the logit when the cell is deleted")
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return figure
