"""The security pages state what the code does: the table of slots, and the bounds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vision_attn.core import json_file
from vision_attn.core.registry import available
from vision_attn.data.io.image import FORMATS, MAX_PIXELS, MAX_SIDE
from vision_attn.data.sources import table_parquet
from vision_attn.data.sources.base import ImageSource
from vision_attn.pooling.base import Pooling
from vision_attn.runs import limits, yaml_file
from vision_attn.training.config_trust import SLOTS, WRITES, Slot

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
POLICY = (ROOT / "SECURITY.md").read_text()
BOUNDS = {
    "parameters": limits.PARAMETERS,
    "modules": limits.MODULES,
    "numbers": limits.NUMBER,
    "values": limits.VALUES,
    "image size": limits.IMAGE_SIZE,
    "settings": yaml_file.MOST_PARTS,
    "rows": table_parquet.MAX_ROWS,
    "characters": table_parquet.MAX_CELL,
    "pixels": MAX_PIXELS,
    "side of an image": MAX_SIDE,
}


def classes_of(slot: Slot) -> str:
    """The classes of a slot, in Markdown."""
    ours: dict[str, type[object]] = {"pooling": Pooling, "source": ImageSource}
    if slot.base in ours:
        names = ", ".join(f"`{name}`" for name in sorted(available(ours[slot.base])))
        return f"the {slot.base}s of this package: {names}"
    if slot.names is not None:
        return ", ".join(f"`{name}`" for name in sorted(slot.names))
    return f"the subclasses of `{slot.base}`" if slot.base else "none"


def slots_table() -> Iterator[str]:
    """The table of docs/security.md, line by line."""
    yield "| setting | classes | of the modules | words such as `auto` | classes in arguments |"
    yield "|---|---|---|---|---|"
    for name, slot in SLOTS.items():
        modules = ", ".join(f"`{module}`" for module in slot.modules) or "-"
        words, nested = ("yes" if flag else "no" for flag in (slot.words, slot.nested))
        yield f"| `{name}` | {classes_of(slot)} | {modules} | {words} | {nested} |"


def test_the_page_shows_all_slots() -> None:
    """If this fails, paste the table that it prints into docs/security.md."""
    table = "\n".join(slots_table())
    assert table in PAGE, f"docs/security.md needs this table:\n{table}"
    assert PAGE.count("\n| `") == len(SLOTS)


def test_the_page_names_all_settings_that_say_where_to_write() -> None:
    listed = PAGE.partition("## Where to write")[2].partition("\n## ")[0]
    assert {name for name in listed.split("`")[1::2] if name != "--trust"} == WRITES


@pytest.mark.parametrize("name", BOUNDS)
def test_the_policy_names_the_bounds(name: str) -> None:
    assert f"{BOUNDS[name]:,}" in POLICY


def test_the_policy_names_the_formats_and_sizes() -> None:
    assert all(name in POLICY for name in FORMATS if name != "DIB")
    for most in (table_parquet.MAX_DECODED, json_file.MAX_BYTES, yaml_file.MAX_BYTES):
        assert f"| {most >> 20} MiB" in POLICY or f", {most >> 20} MiB" in POLICY
