"""Draw a heatmap over its image with Captum's visualization, as `overlay.blend` colors it."""

from typing import Any, cast

import numpy as np
from captum.attr import visualization
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vision_attn.core.heatmap import Heatmap
from vision_attn.visualization.overlay import AGAINST, DARKEST, FOR, OPACITY, strength

LEVELS = 511  # colors; an odd number, so that one of them is that of 0


def transparent_at_zero() -> ListedColormap:
    """The colormap of signed maps: blue below 0, red above it, the more opaque the further away.

    >>> [[round(float(part), 2) for part in transparent_at_zero()(x)] for x in (0.0, 0.5, 1.0)]
    [[0.1, 0.36, 0.86, 0.85], [0.1, 0.36, 0.86, 0.0], [0.84, 0.15, 0.1, 0.85]]
    """
    share = np.linspace(-1, 1, LEVELS)[:, None]
    return ListedColormap(np.hstack([np.where(share > 0, FOR, AGAINST), OPACITY * np.abs(share)]))


def draw_overlay(axes: Axes, pixels: NDArray[np.uint8], heatmap: Heatmap, scale: float) -> None:
    """Draw a map that is not empty over its image (H, W, 3).

    Captum stretches the colors to the largest value, and the gray image to its darkest and lightest
    pixel. A row below the image, outside the limits of the axes, holds the ends of both scales.

    Args:
        axes: the axes to draw on.
        pixels: the image.
        heatmap: the map.
        scale: the value that is drawn in full color.
    """
    height, width = pixels.shape[:2]
    share = strength(heatmap, scale, height, width)
    shown = share if heatmap.signed else DARKEST + (1 - DARKEST) * share
    ends = np.zeros((1, width, 3), np.uint8)
    ends[:, : width // 2] = 255
    method: dict[str, Any] = (
        {"method": "blended_heat_map", "sign": "all", "cmap": transparent_at_zero()}
        if heatmap.signed
        else {"method": "masked_image", "sign": "positive"}
    )
    visualization.visualize_image_attr(
        np.concatenate([shown, np.ones((1, width))])[..., None],
        np.concatenate([pixels, ends]),
        alpha_overlay=cast(float, None),  # the colormap has the opacity
        outlier_perc=1e-3,  # 0 fails in Captum where sums are rounded up
        plt_fig_axis=(cast(Figure, axes.figure), axes),
        use_pyplot=False,
        **method,
    )
    axes.set_ylim(height - 0.5, -0.5)
