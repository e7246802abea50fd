"""Choose installed fonts that have the characters of names in any script.

Matplotlib's own font lacks Chinese, Arabic, Thai and other scripts, which it would draw as boxes.
"""

import warnings
from functools import cache

from matplotlib import font_manager

from vision_attn.core.terminal import printable, say

OWN = "DejaVu Sans"  # comes with Matplotlib
NO_FONTS = ("Last Resort",)  # draw a box for every character
MOST_SHOWN = 10  # missing characters in the line

warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # `say_missing` says it


def font_families(texts: list[str]) -> list[str]:
    """Names of fonts that together have all characters of some texts, as far as any font has them.

    A line names the characters that no installed font has, once for the same characters.

    >>> font_families(["cat", "größe", "Жук"])
    ['DejaVu Sans']
    """
    wanted = {ord(character) for text in texts for character in printable(text)}
    missing = wanted - characters_of(OWN)
    families = [OWN]
    for name in other_fonts() if missing else []:
        if found := missing & characters_of(name):
            families.append(name)
            missing -= found
        if not missing:
            break
    if missing:
        say_missing("".join(map(chr, sorted(missing))))
    return families


@cache
def characters_of(family: str) -> frozenset[int]:
    """The code points that a font has; none if its file cannot be read."""
    try:
        # Searching by name warns about families that have no font of normal weight.
        path = next(font.fname for font in font_manager.fontManager.ttflist if font.name == family)
        return frozenset(font_manager.get_font(path).get_charmap())
    except (StopIteration, OSError, RuntimeError):  # not found, or a format that FreeType lacks
        return frozenset()


@cache
def other_fonts() -> tuple[str, ...]:
    """Names of the installed fonts except for Matplotlib's own, sorted."""
    names = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(sorted(name for name in names if not name.startswith((OWN, *NO_FONTS))))


@cache
def say_missing(characters: str) -> None:
    """Say which characters no installed font has; only the first time."""
    more = f" and {len(characters) - MOST_SHOWN} more" if len(characters) > MOST_SHOWN else ""
    say(
        f"fonts     no installed font has {' '.join(characters[:MOST_SHOWN])}{more}: boxes are "
        "drawn instead. Install one, such as the package fonts-noto-cjk or fonts-noto-core.",
        error=True,
    )
