"""Score tables: numbers are not cut off, and tables fit the terminal."""

from typing import Any

import pytest
from rich.console import Console

from vision_attn.evaluation.table import score_tables

METRICS = {"grid_pointing:2": True, "deletion": False, "infidelity": False, "energy": True}


def summary(mean: float, images: int = 50) -> dict[str, Any]:
    return {"images": images, "mean": mean, "median": -mean, "quartiles": [mean - 1, mean + 1]}


def table_lines(width: int) -> list[str]:
    summaries = {
        "contrast:grad_cam": {name: summary(0.25) for name in METRICS},
        "evidence": {name: summary(1234.5, images=48) for name in METRICS},
        "attention": {"energy": {"images": 0, "mean": None, "median": None, "quartiles": None}},
    }
    extra_columns = {"images/s": ["12", "600", ""]}
    console = Console(width=width, record=True)
    for table in score_tables(summaries, METRICS, extra_columns, width):
        console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize(("width", "tables"), [(200, 1), (120, 2), (100, 2), (75, 4), (50, 5)])
def test_tables_have_as_many_columns_as_fit(width: int, tables: int) -> None:
    lines = table_lines(width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert sum(line.startswith("explainer") for line in lines) == tables
    text = " ".join(lines)
    for name, higher in METRICS.items():
        assert text.count(f"{name} {'↑' if higher else '↓'}") == 1
    assert text.count("images/s") == 1


def test_cells_show_the_scores() -> None:
    lines = table_lines(200)
    (row,) = [line for line in lines if line.startswith("contrast:grad_cam")]
    assert row.split()[1:] == ["0.250", "-0.250", "-0.75", "1.25"] * 4 + ["12"]
    (row,) = [line for line in lines if line.startswith("evidence")]
    assert row.split()[1:5] == ["1234", "-1234", "1.23e+03", "1.24e+03"]
    assert "attention" in lines  # a row without scores: no image could be scored
    assert "".join(lines).count("n = 48 to 50") == 4
