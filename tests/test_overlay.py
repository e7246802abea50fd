"""Pictures: what is hot is drawn hot, where it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vision_attn.overlay import Explained, Heatmap, blended, common_scales, draw_heatmap, sheet

GREY = np.full((40, 60, 3), 128, np.uint8)


def drawn(heatmap: Heatmap) -> np.ndarray:
    """The pixels of one overlay, without title and margin."""
    figure = Figure(figsize=(6, 4), dpi=10)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_heatmap(axes, GREY, heatmap)
    axes.set_title("")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_the_hot_quarter_is_the_hot_quarter() -> None:
    picture = drawn(Heatmap("map", torch.tensor([[0.0, 0.0], [0.0, 1.0]]), signed=False))
    quarters = picture.reshape(2, 20, 2, 30, 3).mean((1, 3))
    redness = quarters[..., 0] - quarters[..., 2]
    assert redness.argmax() == 3
    assert redness[1, 1] > 4 * abs(redness[0, 0])


def test_signs_have_colours() -> None:
    picture = drawn(Heatmap("map", torch.tensor([[-1.0, 1.0]]), signed=True))
    left, right = picture[:, :20].mean((0, 1)), picture[:, -20:].mean((0, 1))
    assert left[2] > left[0] + 40
    assert right[0] > right[2] + 40


def test_a_map_that_says_nothing_leaves_the_image() -> None:
    for values in (torch.zeros(2, 2), torch.full((2, 2), torch.nan), -torch.ones(2, 2)):
        picture = drawn(Heatmap("map", values, signed=False))
        assert abs(picture - 128).max() <= 1


def test_a_faint_map_looks_faint_beside_a_strong_one() -> None:
    strong, faint = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.1]])
    rows = [
        Explained(f"{k}.png", GREY, [("ant", 1.0)], [Heatmap("map", values, signed=False)], "ant")
        for k, values in enumerate((strong, faint))
    ]
    assert common_scales(rows) == {"map": pytest.approx(1.0, abs=0.01)}
    figure = sheet(rows)
    figure.canvas.draw()
    drawn_maps = [axes.images[-1] for axes in figure.axes if axes.get_title() == "map"]
    seen = [image.get_array()[:-1].max() for image in drawn_maps]  # without the hidden row
    assert seen[0] > 0.9
    assert 0.05 < seen[1] < 0.15


def test_maps_of_classes_and_heads_share_a_scale() -> None:
    names = {"evidence: cat": 1.0, "evidence: dog": 2.0, "head 1": 3.0, "head 12": 4.0}
    maps = [Heatmap(name, torch.full((2, 2), v), signed=True) for name, v in names.items()]
    scales = common_scales([Explained("x.png", GREY, [], maps, "cat")])
    assert scales == {"evidence": 2.0, "head": 4.0}


def test_borders_of_cells() -> None:
    heatmap = Heatmap("map", torch.rand(2, 3), signed=False)
    plain = drawn(heatmap)
    with_cells = drawn(replace(heatmap, cells=True))
    changed = (plain != with_cells).any(2)
    assert changed[18:22].mean() > 0.2
    assert changed[:, 18:22].mean() > 0.2
    assert changed[8:12, 8:12].mean() == 0
    pixels = Heatmap("map", torch.rand(40, 60), signed=False)
    assert (drawn(pixels) == drawn(replace(pixels, cells=True))).all()


def test_a_sheet_has_a_panel_for_each_map() -> None:
    maps = [Heatmap(f"map {k}", torch.rand(4, 4), signed=bool(k % 2)) for k in range(7)]
    explained = Explained("x.png", GREY, [("ant", 0.75), ("bee", 0.25)], maps, "ant")
    figure = sheet([explained])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:9] == ["x.png", "maps for: ant", *(f"map {k}" for k in range(7))]
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert texts == ["ant  75.0%", "bee  25.0%"]


def test_a_large_photograph() -> None:
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    heatmap = Heatmap("map", torch.rand(7, 7), signed=True)
    figure = sheet([Explained("x.png", pixels, [("ant", 1.0)], [heatmap], "ant")])
    assert len(figure.axes) == 3


@pytest.mark.parametrize("signed", [False, True])
def test_pixels_and_figures_agree(signed: bool) -> None:
    heatmap = Heatmap("map", torch.randn(3, 4), signed=signed)
    assert abs(drawn(heatmap) - blended(GREY, heatmap)).max() <= 4  # of 255


def test_pixels_of_a_map_that_says_nothing() -> None:
    for values in (torch.zeros(2, 2), torch.full((2, 2), torch.nan)):
        assert (blended(GREY, Heatmap("map", values, signed=True)) == GREY).all()
