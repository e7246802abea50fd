"""Images that are far smaller, larger or longer than is good for training."""

from collections.abc import Callable, Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey

TINY = 16  # pixels of the shorter side
HUGE = 50_000_000  # pixels: 200 MB once decoded
LONG = 4  # times as long as wide, or as wide as long

Kind = tuple[Callable[[int, int], bool], str, str]
KINDS: tuple[Kind, ...] = (
    (
        lambda width, height: min(width, height) < TINY,
        f"with less than {TINY} pixels a side",
        "Icons and thumbnails are often no photographs of their class: look at them.",
    ),
    (
        lambda width, height: width * height > HUGE,
        f"with more than {HUGE // 1_000_000} million pixels",
        "Scale them down once: decoding them takes long, and training sees 224 pixels a side.",
    ),
    (
        lambda width, height: max(width, height) > LONG * min(width, height),
        f"more than {LONG} times as long as wide",
        "Training squeezes images into squares: cut out what matters.",
    ),
)


class Sizes(Check):
    """Tiny, huge and narrow images."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """A finding for each kind."""
        for is_odd, words, advice in KINDS:
            items = [
                f"{survey.name(index)}: {width}x{height}"
                for index, (width, height) in enumerate(found.size for found in survey.stats)
                if width and is_odd(width, height)
            ]
            if items:
                what = f"{number(len(items), 'image')} {words}"
                yield Finding(Severity.NOTE, what, advice, items)
