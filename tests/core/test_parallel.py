"""Threads: results in order, in bounded memory, and errors that reach the caller."""

import threading
import time
from collections.abc import Iterator

import pytest

from vision_attn.core.parallel import threaded_map


def test_results_are_in_order() -> None:
    def slow(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(threaded_map(slow, range(30), ahead=7)) == [k * k for k in range(30)]


def test_no_more_than_ahead_are_taken_from_the_items() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    results = threaded_map(lambda number: number, items(), ahead=5)
    assert next(results) == 0
    assert taken <= 6
    results.close()
    assert taken <= 6


def test_an_error_reaches_the_caller() -> None:
    def fail(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    found = threaded_map(fail, range(9), ahead=2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)


def test_it_uses_several_threads_or_the_only_one_there_is() -> None:
    threads = set(threaded_map(lambda _: threading.get_ident(), range(50)))
    assert threading.get_ident() not in threads
    assert len(threads) >= 1
