"""Commands in processes of their own, forked so that torch is imported once."""

import multiprocessing
import os
import resource
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from vision_attn.cli.main import main

FORK = multiprocessing.get_context("fork")
SLOWEST = 120  # seconds
UNLIMITED = resource.RLIM_INFINITY


def work(words: list[str], ready: object, log: Path, largest: int) -> None:
    """What a process does: wait for the others, then the command."""
    ready.wait(SLOWEST)  # type: ignore[attr-defined]
    with log.open("w") as told, redirect_stdout(told), redirect_stderr(told):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, UNLIMITED))
        code = main(words)
        resource.setrlimit(resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
    os._exit(code)  # no fixture of the process that it was forked from is to end here


def at_once(
    commands: list[list[str]], place: Path, largest: int = UNLIMITED
) -> list[tuple[int | None, str]]:
    """Exit codes and words of commands that begin in the same moment, each in its process.

    Args:
        commands: the words of each.
        place: a folder for what they say.
        largest: bytes that a file may have.
    """
    ready = FORK.Barrier(len(commands))
    logs = [place / f"log{number}" for number in range(len(commands))]
    processes = [
        FORK.Process(target=work, args=(words, ready, log, largest))
        for words, log in zip(commands, logs, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SLOWEST)
    return [
        (process.exitcode, log.read_text()) for process, log in zip(processes, logs, strict=True)
    ]
