"""Compare tables of predictions whose images were in different batches."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

ROUNDING = 1e-5
"""Largest difference of a probability: the order of sums depends on the size of a batch."""


def read_rows(table: Path) -> list[dict[str, Any]]:
    """The rows of a CSV, JSON Lines or Parquet table as they are."""
    if table.suffix == ".parquet":
        return parquet.read_table(table).to_pylist()
    if table.suffix == ".jsonl":
        return [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def text_and_numbers(row: dict[str, Any]) -> tuple[dict[str, str], dict[str, float]]:
    """The text of a row, and its numbers, which are text in a CSV file, by their columns."""
    text, numbers = {}, {}
    for key, value in row.items():
        cells = value.items() if isinstance(value, dict) else [("", value)]
        for name, cell in cells:
            try:
                numbers[f"{key}/{name}"] = float(cell)
            except (TypeError, ValueError):
                text[f"{key}/{name}"] = cell
    return text, numbers


def assert_same_predictions(table: Path, expected: Path) -> None:
    """Check that names and classes are equal, in order, and probabilities up to rounding."""
    rows, wanted = read_rows(table), read_rows(expected)
    assert len(rows) == len(wanted)
    for row, other in zip(rows, wanted, strict=True):
        (text, numbers), (other_text, other_numbers) = (
            text_and_numbers(row),
            text_and_numbers(other),
        )
        assert text == other_text
        assert numbers == pytest.approx(other_numbers, abs=ROUNDING)
        assert numbers
