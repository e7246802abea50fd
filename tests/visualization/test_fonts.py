"""Names in scripts that Matplotlib lacks: an installed font is used, or a line says which."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from vision_attn.core.heatmap import Heatmap
from vision_attn.visualization import fonts
from vision_attn.visualization.fonts import font_families
from vision_attn.visualization.panels import OverlayRow
from vision_attn.visualization.sheet import sheet


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Each test looks the installed fonts up anew."""
    caches = (fonts.characters_of, fonts.other_fonts, fonts.say_missing)
    for found in caches:
        found.cache_clear()
    before = list(font_manager.fontManager.ttflist)
    yield
    font_manager.fontManager.ttflist[:] = before
    for found in caches:
        found.cache_clear()


def install_font(path: Path, character: str) -> None:
    """Make a font whose only character is a filled square, and let Matplotlib know it."""
    pen = TTGlyphPen(None)
    for step, corner in enumerate([(0, 0), (0, 800), (800, 800), (800, 0)]):
        (pen.lineTo if step else pen.moveTo)(corner)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "square": (900, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    font_manager.fontManager.addfont(path)


CHARACTER = "\U00012000"  # cuneiform, which no usual font has


def test_a_font_that_has_the_characters_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_font(tmp_path / "squares.ttf", CHARACTER)
    assert font_families(["a" + CHARACTER]) == ["DejaVu Sans", "Squares"]
    assert capsys.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:Glyph")  # pytest forgets the filter of the module
def test_a_line_names_characters_that_no_font_has_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = OverlayRow(
        f"{CHARACTER}.png",
        np.zeros((8, 8, 3), np.uint8),
        [(CHARACTER, 0.75), ("cat", 0.25)],
        [Heatmap("evidence", torch.ones(2, 2), signed=True)],
        CHARACTER,
    )
    for _ in range(2):
        sheet(row).canvas.draw()
    said = capsys.readouterr().err
    assert said.count(f"no installed font has {CHARACTER}: boxes are drawn instead") == 1
