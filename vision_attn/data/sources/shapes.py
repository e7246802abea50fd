"""Synthetic images whose object is known to the pixel: a ground truth for explanations."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from vision_attn.data.sources.base import ImageSource
from vision_attn.data.split import Split

Point = tuple[float, float]
Random = np.random.Generator
SUPERSAMPLING = 3  # drawn this much larger and then reduced: smooth edges


def regular(corners: int, inner: float = 1.0) -> list[Point]:
    """Corners of a regular polygon of radius 1, or of a star whose notches have radius `inner`.

    >>> [(round(x), round(y)) for x, y in regular(4)]
    [(0, -1), (1, 0), (0, 1), (-1, 0)]
    """
    count = corners if inner == 1 else 2 * corners
    angles = (2 * math.pi * k / count for k in range(count))
    radii = (1.0 if k % 2 == 0 or inner == 1 else inner for k in range(count))
    return [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True)]


def cross(arm: float) -> list[Point]:
    """Corners of a cross of radius 1 whose arms are 2*arm wide."""
    quarter = [(arm, -0.95), (arm, -arm), (0.95, -arm), (0.95, arm)]
    turned = []
    for k in range(4):
        c, s = math.cos(k * math.pi / 2), math.sin(k * math.pi / 2)
        turned += [(x * c - y * s, x * s + y * c) for x, y in quarter[:3]]
    return turned


def heart() -> list[Point]:
    """Corners of a heart of radius 1."""
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    across = np.sin(angles) ** 3
    down = -(13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles)) / 16
    return [(float(x), float(y)) for x, y in zip(0.95 * across, 0.95 * down, strict=True)]


OUTLINES: dict[str, list[Point]] = {
    "circle": regular(48),
    "cross": cross(0.38),
    "heart": heart(),
    "square": regular(4),
    "star": regular(5, inner=0.42),
    "triangle": regular(3),
}


class Shapes(ImageSource):
    """Small colour images: a textured background, distracting strokes, and one object.

    The object's outline is the class; its place, size, turn and colours are chance. Every image
    is drawn from the seed, its split and its number alone, and comes with the object's mask.

    Args:
        train: number of training images.
        val: number of validation images.
        test: number of test images.
        seed: another seed gives other images.
    """

    natural_size = 64

    def __init__(self, train: int = 6000, val: int = 600, test: int = 1200, seed: int = 0) -> None:
        self.counts = {"train": train, "val": val, "test": test}
        self.seed = seed
        self.class_names = list(OUTLINES)

    def splits(self) -> dict[str, Split]:
        """Images drawn as they are read, the classes in turn."""
        return {name: self.split(place, name) for place, name in enumerate(self.counts)}

    def split(self, place: int, name: str) -> Split:
        """One split, whose images no other split has."""
        classes = self.class_names
        count = self.counts[name]

        def drawn(draw: Callable[[Random, str, int], Tensor]) -> Callable[[int, int], Tensor]:
            def read(index: int, size: int) -> Tensor:
                random = np.random.default_rng((self.seed, place, index))
                return draw(random, classes[index % len(classes)], size)

            return read

        return Split(
            names=[f"{name}/{index:05d}" for index in range(count)],
            labels=[classes[index % len(classes)] for index in range(count)],
            read=drawn(lambda random, label, size: draw_image(random, label, size)[0]),
            read_mask=drawn(lambda random, label, size: draw_image(random, label, size)[1]),
        )


def draw_image(random: Random, label: str, size: int) -> tuple[Tensor, Tensor]:
    """One image, uint8 (3, size, size), and the mask of its object, bool (size, size)."""
    dark, light = two_tones(random)
    canvas = texture(random, size, dark, coarse=4)
    draw_distractors(random, canvas)
    outline = Image.new("L", canvas.size)
    ImageDraw.Draw(outline).polygon(placed(random, OUTLINES[label], canvas.width), fill=255)
    shadow = outline.filter(ImageFilter.BoxBlur(canvas.width / 40))
    canvas.paste(Image.new("RGB", canvas.size), mask=shadow.point(lambda value: value * 0.55))
    canvas.paste(texture(random, size, light, coarse=8), mask=outline)
    small = canvas.resize((size, size), Image.Resampling.BOX)
    mask = outline.resize((size, size), Image.Resampling.BOX)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    return pixels, torch.from_numpy(np.array(mask) > 127)


def two_tones(random: Random) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours of the background and of the object, one clearly darker, in either order."""
    dark, light = random.uniform(0.05, 0.38, 3), random.uniform(0.55, 1.0, 3)
    return (dark, light) if random.random() < 0.5 else (light, dark)


def texture(random: Random, size: int, color: NDArray[np.float64], coarse: int) -> Image.Image:
    """A cloudy, slightly striped surface around a colour, at the drawing's scale."""
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
    """Strokes and dots in any colour: as bright as the object, but of no class."""
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


def placed(random: Random, outline: list[Point], side: int) -> list[Point]:
    """An outline at a random size and turn, wholly inside the picture."""
    radius = random.uniform(0.15, 0.24) * side
    x0, y0 = random.uniform(radius, side - radius, 2)
    turn = random.uniform(0, 2 * math.pi)
    c, s = radius * math.cos(turn), radius * math.sin(turn)
    return [(x0 + x * c - y * s, y0 + x * s + y * c) for x, y in outline]
