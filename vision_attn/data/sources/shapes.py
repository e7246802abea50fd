"""Synthetic shapes data set with exact object masks, a ground truth for explanations."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from vision_attn.data.sources.base import ImageSource
from vision_attn.data.split import Split

Point = tuple[float, float]
Random = np.random.Generator
SUPERSAMPLING = 3  # drawn this many times larger, then downsampled: smooth edges (antialiasing)


def regular_polygon(corners: int, inner: float = 1.0) -> list[Point]:
    """Corners of a regular polygon of radius 1, or of a star whose notches have radius `inner`.

    >>> [(round(x), round(y)) for x, y in regular_polygon(4)]
    [(0, -1), (1, 0), (0, 1), (-1, 0)]
    """
    count = corners if inner == 1 else 2 * corners
    angles = (2 * math.pi * k / count for k in range(count))
    radii = (1.0 if k % 2 == 0 or inner == 1 else inner for k in range(count))
    return [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True)]


def cross(arm: float) -> list[Point]:
    """Corners of a cross of radius 1 whose arms are 2*arm wide."""
    quarter = [(arm, -0.95), (arm, -arm), (0.95, -arm), (0.95, arm)]
    corners = []
    for k in range(4):
        c, s = math.cos(k * math.pi / 2), math.sin(k * math.pi / 2)
        corners += [(x * c - y * s, x * s + y * c) for x, y in quarter[:3]]
    return corners


def heart() -> list[Point]:
    """Corners of a heart of radius 1."""
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    xs = np.sin(angles) ** 3
    ys = -(13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles)) / 16
    return [(float(x), float(y)) for x, y in zip(0.95 * xs, 0.95 * ys, strict=True)]


OUTLINES: dict[str, list[Point]] = {
    "circle": regular_polygon(48),
    "cross": cross(0.38),
    "heart": heart(),
    "square": regular_polygon(4),
    "star": regular_polygon(5, inner=0.42),
    "triangle": regular_polygon(3),
}


PIXELS, MASK = 0, 1  # of what `draw_image` returns


class Shapes(ImageSource):
    """Synthetic color images: a textured background, distractor strokes, and one object.

    The outline of the object is the class; its position, size, rotation and colors are random.
    Each image depends only on the seed, its split and its index, and has a mask of its object.

    Args:
        train: number of training images.
        val: number of validation images.
        test: number of test images.
        seed: the random seed of all images.
    """

    natural_size = 64
    is_synthetic = True

    def __init__(self, train: int = 6000, val: int = 600, test: int = 1200, seed: int = 0) -> None:
        self.counts = {"train": train, "val": val, "test": test}
        self.seed = seed
        self.class_names = list(OUTLINES)

    def splits(self) -> dict[str, Split]:
        """The splits, with balanced classes; an image is drawn when it is read."""
        return {name: self.split(number, name) for number, name in enumerate(self.counts)}

    def split(self, number: int, name: str) -> Split:
        """One split; its number is part of the random seed, so splits share no images."""
        classes = self.class_names
        count = self.counts[name]

        return Split(
            names=[f"{name}/{index:05d}" for index in range(count)],
            labels=[classes[index % len(classes)] for index in range(count)],
            read=ShapeReader(self.seed, number, classes, PIXELS),
            read_mask=ShapeReader(self.seed, number, classes, MASK),
        )


@dataclass(frozen=True)
class ShapeReader:
    """Draws the image with an index, and returns its pixels or its mask.

    Attributes:
        seed: the seed of all images.
        number: the number of the split.
        classes: the classes, which alternate.
        part: what is returned: `PIXELS` or `MASK`.
    """

    seed: int
    number: int
    classes: list[str]
    part: int

    def __call__(self, index: int, size: int) -> Tensor:
        """The image with an index, uint8 (3, size, size), or its mask, bool (size, size)."""
        random = np.random.default_rng((self.seed, self.number, index))
        return draw_image(random, self.classes[index % len(self.classes)], size)[self.part]


def draw_image(random: Random, label: str, size: int) -> tuple[Tensor, Tensor]:
    """Draw one image, uint8 (3, size, size), and its object mask, bool (size, size)."""
    background, foreground = contrasting_colors(random)
    canvas = texture(random, size, background, coarse=4)
    draw_distractors(random, canvas)
    outline = Image.new("L", canvas.size)
    ImageDraw.Draw(outline).polygon(place_outline(random, OUTLINES[label], canvas.width), fill=255)
    shadow = outline.filter(ImageFilter.BoxBlur(canvas.width / 40))
    canvas.paste(Image.new("RGB", canvas.size), mask=shadow.point(lambda value: value * 0.55))
    canvas.paste(texture(random, size, foreground, coarse=8), mask=outline)
    small = canvas.resize((size, size), Image.Resampling.BOX)
    mask = outline.resize((size, size), Image.Resampling.BOX)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    return pixels, torch.from_numpy(np.array(mask) > 127)


def contrasting_colors(random: Random) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random colors of background and object; either one is clearly darker than the other."""
    dark, light = random.uniform(0.05, 0.38, 3), random.uniform(0.55, 1.0, 3)
    return (dark, light) if random.random() < 0.5 else (light, dark)


def texture(random: Random, size: int, color: NDArray[np.float64], coarse: int) -> Image.Image:
    """A cloudy, slightly striped texture around a color, (3 * size) x (3 * size) pixels."""
    surface = np.zeros((size, size, 3), np.float32)
    for cells, strength in ((coarse, 0.2), (4 * coarse, 0.12)):
        noise = random.integers(0, 256, (cells, cells, 3), np.uint8)
        cloud = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
        surface += np.asarray(cloud, np.float32) * (strength / 255) - strength / 2
    angle, waves = random.uniform(0, math.pi), 2 * math.pi * random.uniform(3, 9)
    along = np.linspace(0, waves, size, dtype=np.float32)
    stripes = np.sin(along * math.cos(angle) + along[:, None] * math.sin(angle))
    surface += color.astype(np.float32) + random.uniform(0, 0.06) * stripes[..., None]
    small = Image.fromarray((surface.clip(0, 1) * 255).astype(np.uint8))
    return small.resize((size * SUPERSAMPLING,) * 2, Image.Resampling.BILINEAR)


def draw_distractors(random: Random, canvas: Image.Image) -> None:
    """Draw random strokes and dots, which may be as bright as the object but show no class."""
    draw, side = ImageDraw.Draw(canvas), canvas.width
    for _ in range(random.integers(4, 10)):
        color = tuple(int(value) for value in random.integers(0, 256, 3))
        x, y = random.uniform(0, side, 2)
        if random.random() < 0.6:
            length, angle = random.uniform(0.1, 0.4) * side, random.uniform(0, math.pi)
            end = x + length * math.cos(angle), y + length * math.sin(angle)
            draw.line([(x, y), end], fill=color, width=int(random.uniform(0.01, 0.035) * side))
        else:
            r = random.uniform(0.01, 0.03) * side
            draw.ellipse((x - r, y - r, x + r, y + r), fill=color)


def place_outline(random: Random, outline: list[Point], side: int) -> list[Point]:
    """An outline at a random position, size and rotation, entirely inside the image."""
    radius = random.uniform(0.15, 0.24) * side
    x0, y0 = random.uniform(radius, side - radius, 2)
    angle = random.uniform(0, 2 * math.pi)
    c, s = radius * math.cos(angle), radius * math.sin(angle)
    return [(x0 + x * c - y * s, y0 + x * s + y * c) for x, y in outline]
