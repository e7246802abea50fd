"""Tables of explainer scores for a terminal, split so that each fits the width."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from vision_attn.core.terminal import printable
from vision_attn.evaluation.benchmark import Summary
from vision_attn.evaluation.report.map_verdict import loses_to

GAP = 2  # characters between columns


@dataclass(frozen=True)
class Column:
    """A table column: a header of a few lines, and one cell per explainer."""

    header: str
    cells: list[str]

    def width(self) -> int:
        """Number of characters of the longest line."""
        return max(len(line) for cell in (self.header, *self.cells) for line in cell.split("\n"))


def score_tables(
    summaries: Mapping[str, Mapping[str, Summary]],
    higher_is_better: Mapping[str, bool],
    extra_columns: Mapping[str, list[str]],
    width: int,
) -> list[Table]:
    """Tables with one row per explainer, at most `width` wide (wider only if one column is).

    Args:
        summaries: per explainer, then per metric.
        higher_is_better: per metric, whether higher is better.
        extra_columns: further columns by header, with one cell per explainer.
        width: characters per line.
    """
    names = Column("explainer", [printable(name) for name in summaries])
    scores = [
        score_column(
            metric,
            higher,
            [by_metric.get(metric) for by_metric in summaries.values()],
            [bool(loses_to(summaries, name, metric, higher)) for name in summaries],
        )
        for metric, higher in higher_is_better.items()
    ]
    others = [Column(header, cells) for header, cells in extra_columns.items()]
    room = width - names.width()
    return [table(names, group) for group in split_columns([*scores, *others], room)]


def score_column(
    metric: str, higher: bool, summaries: list[Summary | None], lost: list[bool]
) -> Column:
    """Column of one metric: mean, median, quartiles, and number of scored heatmaps.

    Args:
        metric: its name.
        higher: whether higher is better.
        summaries: one per explainer; None if it was not scored.
        lost: whether each does not beat a control, which is marked behind its mean.
    """
    scored = [summary for summary in summaries if summary and summary["images"]]
    counts = sorted({summary["images"] for summary in scored})
    count = " to ".join(str(n) for n in dict.fromkeys([*counts[:1], *counts[-1:]])) or "0"
    marks = [(" ✗" if one else "  ") if any(lost) else "" for one in lost]
    title = f"{printable(metric)} {'↑' if higher else '↓'}"
    space = "  " if any(lost) else ""
    header = f"{title}\nn = {count}\n  mean{space} median  quartiles"
    pairs = zip(summaries, marks, strict=True)
    return Column(header, [score_cell(s, m) if s and s["images"] else "" for s, m in pairs])


def score_cell(summary: Summary, mark: str = "") -> str:
    """Mean, median and quartiles with fixed widths, so that rows align.

    >>> score_cell({"mean": 0.85, "median": 0.984, "quartiles": [-0.5, 1]})
    ' 0.850  0.984 -0.50  1.00'
    """
    assert summary["quartiles"] is not None  # at least one image was scored
    assert summary["mean"] is not None
    assert summary["median"] is not None
    low, high = summary["quartiles"]
    mean, median = short_number(summary["mean"], 3), short_number(summary["median"], 3)
    return f"{mean:>6}{mark} {median:>6} {short_number(low, 2):>5} {short_number(high, 2):>5}"


def short_number(value: float, digits: int) -> str:
    """A number as a short text.

    >>> short_number(0.5, 3), short_number(-12.345, 3), short_number(1234567.0, 2)
    ('0.500', '-12.35', '1.23e+06')
    """
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.{digits + 1}g}"


def split_columns(columns: Iterable[Column], width: int) -> Iterator[list[Column]]:
    """Split columns into groups at most `width` wide, with at least one column each."""
    group: list[Column] = []
    for column in columns:
        if group and sum(GAP + c.width() for c in (*group, column)) > width:
            yield group
            group = []
        group.append(column)
    if group:
        yield group


def table(names: Column, columns: list[Column]) -> Table:
    """A rich table with the names of the explainers and the given columns."""
    result = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, GAP - 1))
    result.add_column(Text(names.header), no_wrap=True)
    for column in columns:
        result.add_column(Text(column.header), justify="right", no_wrap=True)
    for row in zip(names.cells, *(column.cells for column in columns), strict=True):
        result.add_row(*map(Text, row))
    return result
