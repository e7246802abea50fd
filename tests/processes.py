"""Run commands concurrently, in forked processes (so that torch is imported only once)."""

import io
import multiprocessing
import os
import resource
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from vision_attn.cli.main import main

FORK = multiprocessing.get_context("fork")
TIMEOUT = 120  # seconds
UNLIMITED = resource.RLIM_INFINITY


def run_command(words: list[str], ready: object, log: Path, largest: int) -> None:
    """Wait for the other processes, then run a command and exit with its code."""
    ready.wait(TIMEOUT)  # type: ignore[attr-defined]
    output = io.StringIO()  # written to the log without the limit
    try:
        with redirect_stdout(output), redirect_stderr(output):
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, UNLIMITED))
            code = main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
        log.write_text(output.getvalue())
    os._exit(code)  # without finalizing fixtures of the parent process


def at_once(
    commands: list[list[str]], folder: Path, largest: int = UNLIMITED
) -> list[tuple[int | None, str]]:
    """Start commands at the same time, one process each; returns exit codes and outputs.

    Args:
        commands: the arguments of each command.
        folder: a folder for their outputs.
        largest: largest file size in bytes that they may write.
    """
    ready = FORK.Barrier(len(commands))
    logs = [folder / f"log{number}" for number in range(len(commands))]
    processes = [
        FORK.Process(target=run_command, args=(words, ready, log, largest))
        for words, log in zip(commands, logs, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT)
    return [
        (process.exitcode, log.read_text()) for process, log in zip(processes, logs, strict=True)
    ]
