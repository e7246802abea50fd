"""Check for images that are too small, too large or too elongated for training."""

from collections.abc import Callable, Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey

TINY = 16  # pixels of the shorter side
HUGE = 50_000_000  # pixels: 200 MB once decoded
LONG = 4  # the most that the longer side may be, in shorter sides

Kind = tuple[Callable[[int, int], bool], str, str]
KINDS: tuple[Kind, ...] = (
    (
        lambda width, height: min(width, height) < TINY,
        f"smaller than {TINY} pixels on the shorter side",
        "Look at them: icons and thumbnails often do not show their class.",
    ),
    (
        lambda width, height: width * height > HUGE,
        f"with more than {HUGE // 1_000_000} million pixels",
        "Scale them down once: decoding is slow, and training sees only 224 x 224 pixels.",
    ),
    (
        lambda width, height: max(width, height) > LONG * min(width, height),
        f"with one side more than {LONG} times as long as the other",
        "Training resizes images to squares, which distorts these: crop them.",
    ),
)


class ImageSizes(Check):
    """Tiny, huge and elongated images."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding per kind."""
        for matches, description, advice in KINDS:
            items = [
                f"{survey.name(index)}: {width}x{height}"
                for index, (width, height) in enumerate(stats.size for stats in survey.stats)
                if width and matches(width, height)
            ]
            if items:
                what = f"{count_noun(len(items), 'image')} {description}"
                yield Finding(Severity.NOTE, what, advice, items)
