"""Tables of scores: whole figures, and no wider than the terminal."""

from typing import Any

import pytest
from rich.console import Console

from vision_attn.evaluation.table import score_tables

METRICS = {"grid_pointing:2": True, "deletion": False, "infidelity": False, "energy": True}


def summary(mean: float, images: int = 50) -> dict[str, Any]:
    return {"images": images, "mean": mean, "median": -mean, "quartiles": [mean - 1, mean + 1]}


def lines(width: int) -> list[str]:
    summaries = {
        "contrast:grad_cam": {name: summary(0.25) for name in METRICS},
        "evidence": {name: summary(1234.5, images=48) for name in METRICS},
        "attention": {"energy": {"images": 0, "mean": None, "median": None, "quartiles": None}},
    }
    remarks = {"images/s": ["12", "600", ""]}
    console = Console(width=width, record=True)
    for table in score_tables(summaries, METRICS, remarks, width):
        console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize(("width", "tables"), [(200, 1), (120, 2), (100, 2), (75, 4), (50, 5)])
def test_as_many_columns_as_fit(width: int, tables: int) -> None:
    told = lines(width)
    assert max(map(len, told)) <= width
    assert "…" not in "".join(told)
    assert sum(line.startswith("explainer") for line in told) == tables
    heads = " ".join(told)
    for name, higher in METRICS.items():
        assert heads.count(f"{name} {'↑' if higher else '↓'}") == 1
    assert heads.count("images/s") == 1


def test_figures() -> None:
    told = lines(200)
    (row,) = [line for line in told if line.startswith("contrast:grad_cam")]
    assert row.split()[1:] == ["0.250", "-0.250", "-0.75", "1.25"] * 4 + ["12"]
    (row,) = [line for line in told if line.startswith("evidence")]
    assert row.split()[1:5] == ["1234", "-1234", "1.23e+03", "1.24e+03"]
    assert "attention" in told  # and nothing else, where nothing could be scored
    assert "".join(told).count("n = 48 to 50") == 4
