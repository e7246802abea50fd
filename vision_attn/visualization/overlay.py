"""Heatmap overlays: blend a map with its image into pixels, and the scales that maps share.

Signed maps are drawn in red (for the class) and blue (against it) over a gray image; the two can be
told apart with every kind of color blindness. Maps without signs are drawn as a spotlight: the
image is as bright as the map is high, and dark where the map is 0.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from vision_attn.core.grid import upsample
from vision_attn.core.heatmap import Heatmap

FOR, AGAINST = (0.84, 0.15, 0.10), (0.10, 0.36, 0.86)  # red and blue, as red, green, blue
OPACITY = 0.85  # of the color of the strongest evidence
DARKEST = 0.1  # brightness of the image where an unsigned map is 0
FINE = 1000  # a map of more places may have outliers, which are drawn in full color
BLUR = 0.01  # of the side: pixel maps are smoothed by this much for display
MIN_PIXELS, MAX_PIXELS = 256, 1024  # per side of a drawn image


def vmax(heatmap: Heatmap) -> float:
    """Compute the value drawn in full color: the largest one; 0 for an empty map or with NaN.

    Of more than 1,000 places it is the 99.5th percentile, so that single pixels do not rule.

    >>> import torch
    >>> vmax(Heatmap("a", torch.tensor([[0.0, -2.0]]), signed=True))
    2.0
    """
    values = heatmap.values.float().cpu()
    if not values.isfinite().all():
        return 0.0
    smooth = smoothed(values.numpy())
    shown = np.abs(smooth) if heatmap.signed else smooth.clip(min=0)
    return float(np.quantile(shown, 0.995) if shown.size > FINE else shown.max())


def is_smoothed(height: int, width: int) -> bool:
    """Whether a map is smoothed for display: if 1 % of its side is at least a place.

    >>> is_smoothed(224, 224), is_smoothed(32, 32), is_smoothed(7, 7)
    (True, False, False)
    """
    return BLUR * min(height, width) >= 1


def smoothed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth a pixel map (h, w) by a Gaussian of 1 % of its side; coarser maps stay as they are.

    Pixel attributions are noise from pixel to pixel, in which nothing can be seen. The sum is kept.
    """
    if not is_smoothed(*values.shape):
        return values
    return gaussian_filter(values, BLUR * min(values.shape), mode="reflect")


def scale_groups(heatmaps: Iterable[Heatmap]) -> dict[str, float]:
    """Compute the value in full color of each group of maps that are compared.

    >>> import torch
    >>> maps = [Heatmap(n, torch.full((2, 2), v), True) for n, v in (("evidence", 1.0), ("b", 3.0))]
    >>> scale_groups([*maps, Heatmap("contrast", torch.full((2, 2), -2.0), True, group="evidence")])
    {'evidence': 2.0, 'b': 3.0}
    """
    scales: dict[str, float] = {}
    for heatmap in heatmaps:
        group = group_of(heatmap)
        scales[group] = max(scales.get(group, 0.0), vmax(heatmap))
    return scales


def group_of(heatmap: Heatmap) -> str:
    """Get the name of the group of maps whose colors can be compared; usually its method."""
    return heatmap.group or family(heatmap)


def family(heatmap: Heatmap) -> str:
    """Get the method of a map, without class or head.

    >>> import torch
    >>> family(Heatmap("evidence: cat", torch.ones(1, 1), True))
    'evidence'
    """
    return "head" if heatmap.head is not None else heatmap.name.split(": ")[0]


def is_empty(heatmap: Heatmap, scale: float) -> bool:
    """Whether there is nothing to draw: NaN, no value above 0, or nothing in the whole group."""
    values = heatmap.values.float()
    shown = values.abs() if heatmap.signed else values
    return not bool(values.isfinite().all()) or float(shown.max()) <= 0 or scale <= 0


def display_size(pixels: NDArray[Any]) -> NDArray[Any]:
    """Reduce an image (H, W, ...) that is larger than a panel shows; enlarge a tiny one.

    Every k-th pixel is taken, or each is repeated k times, which works for masks, too.

    >>> [display_size(np.zeros((h, w, 3))).shape for h, w in ((3000, 2000), (32, 24), (500, 300))]
    [(1000, 667, 3), (256, 192, 3), (500, 300, 3)]
    """
    longest = max(pixels.shape[:2])
    step, times = math.ceil(longest / MAX_PIXELS), math.ceil(MIN_PIXELS / longest)
    return pixels[::step, ::step].repeat(times, axis=0).repeat(times, axis=1)


def strength(heatmap: Heatmap, scale: float, height: int, width: int) -> NDArray[np.float32]:
    """A map at the size of an image, as a share of the value in full color: -1 to 1, or 0 to 1."""
    fine = smoothed(heatmap.values.float().cpu().numpy())
    values = upsample(heatmap.values.new_tensor(fine)[None].float().cpu(), height, width)[0].numpy()
    return (values / scale).clip(-1 if heatmap.signed else 0, 1)


def blend(
    pixels: NDArray[np.uint8], heatmap: Heatmap, scale: float | None = None
) -> NDArray[np.uint8]:
    """Blend a heatmap with its image (H, W, 3) into pixels; an empty map leaves it unchanged.

    Args:
        pixels: the image.
        heatmap: the map.
        scale: the value that is drawn in full color; None means the map's own.
    """
    full = vmax(heatmap) if scale is None else scale
    if is_empty(heatmap, full):
        return pixels
    share = strength(heatmap, full, *pixels.shape[:2])
    colored = red_and_blue(pixels, share) if heatmap.signed else spotlight(pixels, share)
    return colored.round().astype(np.uint8)


def red_and_blue(pixels: NDArray[Any], share: NDArray[Any]) -> NDArray[Any]:
    """Color a gray copy of an image, red where `share` (H, W) is positive, blue where negative.

    The color covers the image as far as |share| says; nothing is covered where it is 0.

    >>> red_and_blue(np.full((1, 2, 3), 100.0), np.array([[0.0, 1.0]])).round()[0].tolist()
    [[100.0, 100.0, 100.0], [197.0, 48.0, 37.0]]
    """
    gray = pixels.mean(2, keepdims=True)
    opacity = OPACITY * np.abs(share)[..., None]
    color = 255 * np.where(share[..., None] > 0, FOR, AGAINST)
    return opacity * color + (1 - opacity) * gray


def spotlight(pixels: NDArray[Any], share: NDArray[Any]) -> NDArray[Any]:
    """Darken an image where `share` (H, W) is low; it keeps its colors where it is 1.

    >>> spotlight(np.full((1, 3, 3), 100.0), np.array([[0.0, 0.5, 1.0]]))[0, :, 0].round(3).tolist()
    [10.0, 55.0, 100.0]
    """
    return pixels * (DARKEST + (1 - DARKEST) * share)[..., None]


def gradient(signed: bool) -> NDArray[np.uint8]:
    """The pixels (1, 256, 3) of a color bar, as the map would color a medium gray.

    >>> gradient(signed=False)[0, [0, -1], 0].tolist()
    [23, 230]
    """
    if signed:
        colored = red_and_blue(np.full((1, 256, 3), 150.0), np.linspace(-1, 1, 256)[None])
    else:
        colored = spotlight(np.full((1, 256, 3), 230.0), np.linspace(0, 1, 256)[None])
    return colored.round().astype(np.uint8)


def texts_of_ends(heatmap: Heatmap, scale: float) -> list[str]:
    r"""The words and values below a color bar, from left to right.

    >>> import torch
    >>> texts_of_ends(Heatmap("evidence", torch.ones(2, 2), True), 0.3125)
    ['speaks against\n-0.31', 'nothing\n0', 'speaks for\n+0.31']
    >>> texts_of_ends(Heatmap("attention", torch.ones(2, 2), False, expected_sum=1.0), 0.0625)
    ['not looked at\n0\xa0%', 'looked at most\n6.2\xa0%']
    """
    if heatmap.signed:
        return [f"speaks against\n-{scale:.2g}", "nothing\n0", f"speaks for\n+{scale:.2g}"]
    if heatmap.expected_sum == 1:  # attention weights
        return ["not looked at\n0\u00a0%", f"looked at most\n{100 * scale:.2g}\u00a0%"]
    return ["nothing\n0", f"most\n{scale:.2g}"]


def text_of_sum(heatmap: Heatmap) -> str:
    r"""What is said below a map: its sum if that has a meaning, its size, and what was smoothed.

    >>> import torch
    >>> text_of_sum(Heatmap("evidence", torch.full((7, 7), 0.05), signed=True))
    'adds up to +2.5, 7x7 places'
    >>> text_of_sum(Heatmap("attention", torch.full((4, 5), 0.05), False, expected_sum=1.0))
    'highest 5.0\xa0% (even: 5.0\xa0%), 4x5 places'
    """
    height, width = heatmap.values.shape[-2:]
    places = f"{height}x{width} places"
    if is_smoothed(height, width):
        places = f"{height}x{width} pixels, smoothed by 1\u00a0% of the side"
    if heatmap.signed:
        return f"adds up to {float(heatmap.values.double().sum()):+.1f}, {places}"
    if heatmap.expected_sum == 1:
        highest = 100 * float(heatmap.values.max())
        even = 100 / (height * width)
        return f"highest {highest:.1f}\u00a0% (even: {even:.1f}\u00a0%), {places}"
    return places
