"""Configurations that Hypothesis draws: none hides a class, and none ends in a traceback."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.hostile import HOSTILE, SLOTS, Maker, put
from tests.training.test_config_trust import PROCESS, STARTS_A_PROCESS
from vision_attn.core.errors import UserError
from vision_attn.core.terminal import printable
from vision_attn.training.config_trust import check_trusted, problems

HARMLESS = {  # where they are accepted
    "simple", "advanced",  # Lightning's own profilers
    "vision_attn.data.sources.image_table.ImageTable",  # a data source of ours
}  # fmt: skip
NEVER = {*HOSTILE} - HARMLESS
NAMES = st.sampled_from(
    [*SLOTS, "class_path", "init_args", "dict_kwargs", "model", "data", "trainer", "lr", "a"]
) | st.text(max_size=3)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
CONFIGS = st.dictionaries(NAMES, PLAIN, max_size=4)
SPELLINGS = st.sampled_from(
    [STARTS_A_PROCESS, [STARTS_A_PROCESS], yaml.safe_dump(STARTS_A_PROCESS),
     {"class_path": {"class_path": PROCESS}}, {"class_path": PROCESS, "init_args": {}}]
)  # fmt: skip
DRAWN = st.randoms(use_true_random=False)


def named_classes(value: object) -> Iterator[str]:
    """All classes that a configuration names with `class_path`, at any depth."""
    inner: list[object] = []
    if isinstance(value, dict):
        inner = list(value.values())
        if isinstance(value.get("class_path"), str):
            yield value["class_path"]
    for one in value if isinstance(value, list) else inner:
        yield from named_classes(one)


@settings(max_examples=500)
@given(DRAWN, st.integers(1, 3))
def test_no_hostile_class_is_accepted(random: Random, changes: int) -> None:
    """The examples of scripts/fuzz_untrusted.py, drawn by Hypothesis, which shrinks a failure."""
    config: dict[str, Any] = {"model": {"backbone": "resnet10t"}}
    for _ in range(changes):
        Maker(random, Path("/outside")).config(config)
    if not list(problems(config, [])):
        assert not NEVER & {*named_classes(config)}, config
        assert not NEVER & {*texts_in_slots(config)}, config


def texts_in_slots(config: dict[str, Any]) -> Iterator[str]:
    """The classes that the slots for callbacks, optimizers and so on name by a text alone."""
    for slot in ("optimizer", "pooling", "callbacks", "logger", "strategy", "plugins", "source"):
        for section in config.values():
            value = section.get(slot) if isinstance(section, dict) else None
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str):
                    yield one


@settings(max_examples=300)
@given(CONFIGS, st.lists(NAMES, min_size=1, max_size=4), SPELLINGS)
def test_a_class_that_starts_a_process_is_refused_anywhere(
    config: dict[str, Any], place: list[str], value: object
) -> None:
    put(config, ".".join(place), value)
    assert list(problems(config, []))


def message_for(config: dict[str, Any]) -> str:
    """The message with which a configuration is refused; nothing if it is accepted."""
    try:
        check_trusted(config, [], Path("mine.yaml"))
    except UserError as error:
        return str(error)
    return ""


@settings(max_examples=300)
@given(CONFIGS)
def test_the_check_ends_in_one_short_line(config: dict[str, Any]) -> None:
    message = message_for(config)
    assert message == printable(message)
    assert len(message) < 500
