"""Test heatmap overlays, outlines, windows and figures."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from vision_attn.core.heatmap import Heatmap
from vision_attn.pooling.base import Window
from vision_attn.visualization.annotations import draw_cells, draw_outline, draw_windows
from vision_attn.visualization.captum_overlay import draw_overlay
from vision_attn.visualization.layout import Page
from vision_attn.visualization.overlay import blend, scale_groups
from vision_attn.visualization.panels import OverlayRow
from vision_attn.visualization.sheet import sheet, table
from vision_attn.visualization.text import Label

GRAY = np.full((40, 60, 3), 128, np.uint8)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def panel(figure: Figure, title: str) -> Axes:
    (found,) = [axes for axes in figure.axes if axes.get_title() == title]
    return found


def texts(figure: Figure) -> list[str]:
    """All texts of a figure but titles, with plain spaces."""
    found = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return [text.get_text().replace("\u00a0", " ") for text in found]


def drawing_difference(pixels: np.ndarray, draw: Callable[[Axes], None]) -> np.ndarray:
    """Compute how much drawing changes each pixel of an image, at ten times its size."""
    pictures = []
    for work in (lambda axes: None, draw):
        figure = Figure(figsize=(pixels.shape[1] / 10, pixels.shape[0] / 10), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(pixels)
        axes.set_axis_off()
        work(axes)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].astype(int))
    return abs(pictures[0] - pictures[1]).max(2)


def test_evidence_for_is_red_and_against_is_blue_and_nothing_is_the_gray_image() -> None:
    """Cells of 20 pixels: at the middle of each the map has its own value."""
    pixels = np.full((20, 60, 3), (200, 100, 0), np.uint8)  # of mean 100
    values = torch.tensor([[-1.0, 0.0, 2.0]])
    middles = blend(pixels, Heatmap("evidence", values, signed=True))[10, [0, 29, 59]].tolist()
    # -1 of 2 in full color: .85 / 2 of (26, 92, 219), the rest of gray
    assert middles[0] == pytest.approx([68, 96, 151], abs=1)
    assert middles[1] == pytest.approx([100, 100, 100], abs=5)
    assert middles[2] == pytest.approx([197, 48, 37], abs=1)  # .85 of (214, 38, 26), and gray


def test_a_spotlight_is_dark_at_0_and_never_stretched() -> None:
    pixels = np.full((20, 40, 3), (200, 100, 50), np.uint8)
    half = blend(pixels, Heatmap("attention", torch.tensor([[0.0, 1.0]]), signed=False))
    assert half[10, 0].tolist() == [20, 10, 5]  # a tenth
    assert half[10, -1].tolist() == [200, 100, 50]  # the image itself
    flat = blend(pixels, Heatmap("attention", torch.tensor([[0.9, 1.0]]), signed=False))
    assert flat[10, 0].tolist() == [182, 91, 45]  # .1 + .9 * .9 = .91: min to max would give .1


@pytest.mark.parametrize("signed", [False, True])
def test_captum_draws_what_blend_computes(signed: bool) -> None:
    """Sheets are drawn by Captum, report and TensorBoard by `blend`: an independent twin."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(40, 200, (23, 17, 3), dtype=np.uint8)
    heatmap = Heatmap("m", torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), signed)
    axes = Figure().subplots()
    draw_overlay(axes, pixels, heatmap, 1.5)
    *below, drawn = axes.images
    if signed:
        gray = below[-1].to_rgba(below[-1].get_array())[:-1, :, :3]
        color = drawn.to_rgba(drawn.get_array())[:-1]
        found = 255 * (color[..., 3:] * color[..., :3] + (1 - color[..., 3:]) * gray)
    else:
        found = np.asarray(drawn.get_array())[:-1].astype(float)
    assert abs(found - blend(pixels, heatmap, 1.5)).max() <= 2
    assert axes.get_ylim() == (22.5, -0.5)  # the row with the ends of the scales is not seen


def test_an_empty_map_leaves_the_image_unchanged_and_says_so() -> None:
    for values in (torch.zeros(2, 2), torch.full((2, 2), torch.nan), -torch.ones(2, 2)):
        heatmap = Heatmap("map", values, signed=False)
        assert (blend(GRAY, heatmap) == GRAY).all()
        figure = sheet(OverlayRow("x.png", GRAY, [("ant", 1.0)], [heatmap], "ant"))
        assert "map (empty)" in titles(figure)
        assert "speaks for" not in texts(figure)


def test_a_contrast_of_a_single_class_has_no_rival_and_no_sum() -> None:
    heatmap = Heatmap("contrast", torch.full((2, 2), torch.inf), signed=True)
    figure = sheet(OverlayRow("x.png", GRAY, [("ant", 1.0)], [heatmap], "ant"))
    figure.canvas.draw()
    assert "contrast (empty)" in titles(figure)
    assert not any("inf" in text for text in texts(figure))


def test_maps_of_an_image_share_a_scale_and_images_have_their_own() -> None:
    strong, weak = torch.full((2, 2), 2.0), torch.full((2, 2), 0.25)
    rows = [
        OverlayRow("x.png", GRAY, [("ant", 1.0)], [Heatmap("evidence", v, signed=True)], "ant")
        for v in (strong, weak)
    ]
    own, shared = texts(table(rows)), texts(table(rows, shared_scale=True))
    assert [text for text in own if text.startswith("+")] == ["+2", "+0.25"]
    assert [text for text in shared if text.startswith("+")] == ["+2", "+2"]
    maps = [
        Heatmap("evidence", weak, signed=True, group="evidence"),
        Heatmap("evidence: bee", strong, signed=True, group="evidence"),
        Heatmap("contrast", 2 * strong, signed=True, group="evidence"),
        Heatmap("global 1", weak, signed=False, head=0),
        Heatmap("window 2", strong, signed=False, head=1),
    ]
    assert scale_groups(maps) == {"evidence": 4.0, "head": 2.0}


def test_a_pixel_map_is_smoothed_and_the_sheet_says_so() -> None:
    """One pixel of 200 x 200 becomes a Gaussian of 2 pixels: 1/(2 pi 4) = .0398 at its top."""
    values = torch.zeros(200, 200)
    values[100, 100] = 1.0
    heatmap = Heatmap("integrated_gradients", values, signed=True)
    pixels = np.zeros((200, 200, 3), np.uint8)
    shares = blend(pixels, heatmap, scale=1.0)[100, 98:103, 0] / (0.85 * 0.84 * 255)
    assert shares[2] == pytest.approx(0.0398, abs=0.003)
    assert shares[0] == pytest.approx(0.0398 * np.exp(-0.5), abs=0.003)  # 2 pixels away
    figure = sheet(OverlayRow("x.png", pixels, [("ant", 1.0)], [heatmap], "ant"))
    said = "adds up to +1.0, 200x200 pixels, smoothed by 1 % of the side"
    assert said in [text.replace("\n", " ") for text in texts(figure)]


def test_grid_lines_between_cells() -> None:
    changed = drawing_difference(GRAY, lambda axes: draw_cells(axes, (2, 3), 40, 60))
    assert changed[198:202].max(0).min() > 20
    assert changed[:, 198:202].max(1).min() > 20
    assert changed[20:180, 20:180].max() == 0
    assert drawing_difference(GRAY, lambda axes: draw_cells(axes, (40, 60), 40, 60)).max() == 0


@pytest.mark.parametrize(
    ("maps", "rows"), [(1, [2]), (3, [4]), (4, [3, 2]), (5, [4, 2]), (7, [5, 3])]
)
def test_no_map_is_alone_in_a_row(maps: int, rows: list[int]) -> None:
    """The first row has the image, the second the probabilities, which are no picture."""
    heatmaps = [Heatmap(f"map {k}", torch.rand(4, 4), signed=True) for k in range(maps)]
    figure = sheet(OverlayRow("x.png", GRAY, [("ant", 0.75), ("bee", 0.25)], heatmaps, "ant"))
    assert set(titles(figure)) == {"image", "probabilities", *(f"map {k}" for k in range(maps))}
    tops = [
        round(axes.get_position().y1, 3)
        for axes in figure.axes
        if axes.get_title() and axes.get_title() != "probabilities"
    ]
    assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == rows


def test_a_row_per_class_and_the_heads_on_rows_of_their_own() -> None:
    def heatmap(name: str, target: str, head: int | None = None) -> Heatmap:
        return Heatmap(name, torch.full((2, 2), 0.25), head is None, target, head=head)

    maps = [heatmap("attention", "ant"), heatmap("evidence", "ant"), heatmap("contrast", "ant")]
    maps += [heatmap("evidence: bee", "bee"), heatmap("contrast: bee", "bee")]
    maps += [heatmap("global 1", "ant", 0), heatmap("window 2", "ant", 1)]
    figure = sheet(OverlayRow("x.png", GRAY, [("ant", 0.75), ("bee", 0.25)], maps, "ant"))
    places: dict[str, list[tuple[float, float]]] = {}
    for axes in figure.axes:
        box = axes.get_position()
        places.setdefault(axes.get_title(), []).append((round(box.x0, 3), round(box.y1, 3)))
    evidence, contrast = places["evidence"], places["contrast"]
    assert evidence[0][0] == evidence[1][0] < contrast[0][0] == contrast[1][0]  # columns
    assert evidence[0][1] == contrast[0][1] > evidence[1][1] == contrast[1][1]  # rows
    assert places["image"][0][1] == places["attention"][0][1] == evidence[0][1]
    heads = [places["global 1"][0], places["window 2"][0]]
    assert heads[0][1] == heads[1][1] < evidence[1][1]
    assert heads[0][0] == places["image"][0][0]
    assert {"ant 75 %", "bee 25 %", "Attention of each head"} <= set(texts(figure))


def test_texts_of_a_sheet() -> None:
    attention = torch.tensor([[0.5, 0.25], [0.125, 0.125]])
    maps = [
        Heatmap("attention", attention, signed=False, expected_sum=1.0),
        Heatmap("evidence", torch.tensor([[2.0, 0.5, -0.25]]), signed=True),
    ]
    names = [("maine_coon", 0.47), ("b", 0.2), ("c", 0.1), ("d", 0.1), ("e", 0.1), ("$x", 0.03)]
    label = Label("$x", "boxes.csv")
    row = OverlayRow("x.png", GRAY, names, maps, "maine_coon", label=label)
    said = texts(sheet(row))
    assert said[0] == "Predicted maine coon 47 %, labeled $x 3 %"
    assert said[1] == "x.png · label from boxes.csv · maps for maine coon"
    for text in ("not looked at", "0 %", "looked at most", "50 %"):
        assert text in said
    assert "highest 50.0 % (even: 25.0 %), 2x2 places" in said
    for text in ("speaks against", "-2", "nothing", "0", "speaks for", "+2"):
        assert text in said
    assert "adds up to +2.2, 1x3 places" in said
    assert {"maine coon 47 %", "e 10 %", "$x 3 % (label)"} <= set(said)
    assert not any("need not add up" in text for text in said)


def test_the_texts_of_bars_stand_to_the_right_of_the_bars() -> None:
    axes = panel(
        sheet(OverlayRow("x", GRAY, [("ant", 1.0), ("bee", 0.5)], [], "ant")), "probabilities"
    )
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    starts = [text.get_position()[0] for text in axes.texts]
    assert ends[0] == pytest.approx(2 * ends[1])
    assert all(start > end for start, end in zip(starts, ends, strict=True))


def test_long_names_are_cut_only_where_the_panel_ends() -> None:
    names = [("british_shorthair_of_the_long_name", 1.0), ("british_shorthair", 0.0)]
    axes = panel(sheet(OverlayRow("x", GRAY, names, [], "ant")), "probabilities")
    axes.figure.canvas.draw()
    assert "…" in axes.texts[0].get_text()
    assert axes.texts[1].get_text().startswith("british shorthair ")
    right = axes.get_window_extent().x1
    assert all(text.get_window_extent().x1 <= right for text in axes.texts)


def test_a_line_says_that_percentages_do_not_add_up() -> None:
    row = OverlayRow("x.png", GRAY, [("ant", 0.75), ("bee", 0.5)], [], "ant")
    assert any("need not add up to 100 %" in text.replace("\n", " ") for text in texts(sheet(row)))


def test_a_large_image_and_a_tiny_one() -> None:
    for side, drawn in (((3000, 2000), (1000, 667)), ((32, 32), (256, 256))):
        row = OverlayRow(
            "x.png", np.zeros((*side, 3), np.uint8), [("ant", 1.0)],
            [Heatmap("map", torch.rand(7, 7), signed=True)], "ant",
        )  # fmt: skip
        assert panel(sheet(row), "map").images[0].get_array().shape[:2] == drawn


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_an_outline_is_visible_on_light_and_dark_pixels(gray: int) -> None:
    """The object covers rows 10 to 19 and columns 20 to 39 of 40 x 60 pixels."""
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:40] = True
    changed = drawing_difference(
        np.full((40, 60, 3), gray, np.uint8), lambda axes: draw_outline(axes, mask)
    )
    assert changed[97:104, 210:390].max(0).min() > 80  # upper side, at row 10
    assert changed[110:190, 397:404].max(1).min() > 80  # right side, at column 40
    assert changed[110:190, 210:390].max() == 0
    assert changed[:90].max() == 0


def test_an_outline_is_drawn_along_the_image_border() -> None:
    changed = drawing_difference(GRAY, lambda axes: draw_outline(axes, np.ones((40, 60), bool)))
    assert changed[:2, 5:-5].max(0).min() > 80
    assert changed[10:-10, 10:-10].max() == 0
    assert (
        drawing_difference(GRAY, lambda axes: draw_outline(axes, np.zeros((40, 60), bool))).max()
        == 0
    )


def test_windows_are_drawn_at_their_position() -> None:
    """A frame of rows 10 to 30 and columns 15 to 45 of 40 x 60; an ellipse of half its size."""
    window = Window((2,), (0.5, 0.5), (0.25, 0.25), (0.125, 0.125), "about")
    changed = drawing_difference(GRAY, lambda axes: draw_windows(axes, [window], 40, 60))
    across = np.flatnonzero(changed.max(0) > 60)
    down = np.flatnonzero(changed.max(1) > 60)
    assert across.min() == pytest.approx(150, abs=3)
    assert across.max() == pytest.approx(450, abs=3)
    assert down.min() == pytest.approx(100, abs=3)
    assert down.max() == pytest.approx(300, abs=3)
    # at x = 26, the ellipse of 7.5 by 5 pixels is 5 * sqrt(1 - (4/7.5)^2) = 4.2 high
    inner = 110 + np.flatnonzero(changed[110:290, 260] > 60)
    assert inner.min() == pytest.approx(158, abs=5)
    assert inner.max() == pytest.approx(242, abs=5)


def test_the_edge_of_a_window_is_left_out_at_the_border() -> None:
    """Half as wide as the image, but higher than it: only its left and right edges are drawn."""
    window = Window((2,), (0.5, 0.5), (0.6, 0.25), (0.05, 0.05), "about")
    changed = drawing_difference(GRAY, lambda axes: draw_windows(axes, [window], 40, 60))
    assert changed[:120, 148:154].max() > 60
    assert changed[:120, 448:454].max() > 60
    assert changed[:4, 170:430].max() == 0


def test_numbers_of_windows_at_one_place_stand_side_by_side() -> None:
    windows = [
        Window((k,), (0.5, 0.5), (0.1 + k / 10,) * 2, (0.05, 0.05), "about") for k in range(3)
    ]
    names = ["global 4", "window 5", "window 6"]
    axes = Page(4, 3).figure.add_subplot()
    draw_windows(axes, windows, 40, 60, names)
    assert [text.get_text() for text in axes.texts] == ["4", "5", "6"]
    across = [text.get_position()[0] for text in axes.texts]
    assert np.diff(across).tolist() == pytest.approx([4.8, 4.8])  # 8 % of the width


def test_a_figure_captions_its_windows_and_outlines_every_image() -> None:
    window = Window((0,), (0.5, 0.5), (0.25, 0.25), None, "frames: windows")
    mask = np.zeros((40, 60), bool)
    mask[5:9, 5:9] = True
    maps = [Heatmap("evidence", torch.ones(2, 2) * 0.25, signed=True)]
    figure = sheet(OverlayRow("x.png", GRAY, [("ant", 1.0)], maps, "ant", mask, [window]))
    assert [text.get_text() for text in panel(figure, "windows").texts] == ["1"]
    assert "frames: windows" in texts(figure)
    outlines = [
        [
            artist
            for artist in panel(figure, title).collections
            if isinstance(artist, QuadContourSet)
        ]
        for title in ("image", "evidence", "windows", "probabilities")
    ]
    assert [len(found) for found in outlines] == [1, 1, 1, 0]


def test_the_outline_of_a_large_image_is_downsampled_with_it() -> None:
    mask = np.zeros((3000, 2000), bool)
    mask[1500:] = True
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    figure = sheet(OverlayRow("x.png", pixels, [("ant", 1.0)], [], "ant", mask))
    (outline,) = panel(figure, "image").collections
    (path,) = outline.get_paths()
    assert path.vertices[:, 1].min() == pytest.approx(499.5)  # every third row of 1500
