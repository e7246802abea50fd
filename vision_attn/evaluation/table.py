"""Scores of explainers as tables on a terminal: as many metrics side by side as there is room."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich import box
from rich.table import Table

from vision_attn.evaluation.benchmark import Summary

GAP = 2  # characters between columns


@dataclass(frozen=True)
class Column:
    """A head of a few lines, and one cell an explainer."""

    head: str
    cells: list[str]

    def width(self) -> int:
        """Characters of its longest line."""
        return max(len(line) for cell in (self.head, *self.cells) for line in cell.split("\n"))


def score_tables(
    summaries: Mapping[str, Mapping[str, Summary]],
    better: Mapping[str, bool],
    remarks: Mapping[str, list[str]],
    width: int,
) -> list[Table]:
    """Tables with a row an explainer, none wider than `width` if it can be helped.

    Args:
        summaries: by explainer, then by metric.
        better: of each metric, whether higher is better.
        remarks: what else there is to tell, by its head: a cell an explainer.
        width: characters in a line.
    """
    names = Column("explainer", list(summaries))
    scores = [
        score_column(metric, higher, [found.get(metric) for found in summaries.values()])
        for metric, higher in better.items()
    ]
    others = [Column(head, cells) for head, cells in remarks.items()]
    return [table(names, part) for part in fitting([*scores, *others], width - names.width())]


def score_column(metric: str, higher: bool, found: list[Summary | None]) -> Column:
    """One metric: its mean, its median and its quartiles, and how many maps were scored."""
    known = [summary for summary in found if summary and summary["images"]]
    counts = sorted({summary["images"] for summary in known})
    number = " to ".join(str(count) for count in dict.fromkeys([*counts[:1], *counts[-1:]])) or "0"
    head = f"{metric} {'↑' if higher else '↓'}\nn = {number}\n  mean median  quartiles"
    return Column(head, [score_cell(s) if s and s["images"] else "" for s in found])


def score_cell(summary: Summary) -> str:
    """Figures that stand below one another.

    >>> score_cell({"mean": 0.85, "median": 0.984, "quartiles": [-0.5, 1]})
    ' 0.850  0.984 -0.50  1.00'
    """
    assert summary["quartiles"] is not None  # some images were scored
    assert summary["mean"] is not None
    assert summary["median"] is not None
    low, high = summary["quartiles"]
    mean, median = figure(summary["mean"], 3), figure(summary["median"], 3)
    return f"{mean:>6} {median:>6} {figure(low, 2):>5} {figure(high, 2):>5}"


def figure(value: float, digits: int) -> str:
    """A number in few characters.

    >>> figure(0.5, 3), figure(-12.345, 3), figure(1234567.0, 2)
    ('0.500', '-12.35', '1.23e+06')
    """
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.{digits + 1}g}"


def fitting(columns: Iterable[Column], width: int) -> Iterator[list[Column]]:
    """Columns in parts no wider than `width`, at least one in each."""
    part: list[Column] = []
    for column in columns:
        if part and sum(GAP + known.width() for known in (*part, column)) > width:
            yield part
            part = []
        part.append(column)
    if part:
        yield part


def table(names: Column, columns: list[Column]) -> Table:
    """Explainers by their names, and what is known of them."""
    found = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, GAP - 1))
    found.add_column(names.head, no_wrap=True)
    for column in columns:
        found.add_column(column.head, justify="right", no_wrap=True)
    for row in zip(names.cells, *(column.cells for column in columns), strict=True):
        found.add_row(*row)
    return found
