"""The processes of one training: what rank zero tells the others, and how all end together.

They talk through torch's key-value store on rank zero (or of torchrun), beside Lightning's own
connection. Each process writes a heartbeat; a process that fails, or is silent for too long, ends
all others.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Self

import torch.distributed as dist

from vision_attn.core.errors import AlreadyPrinted, UserError, one_line
from vision_attn.core.terminal import say_error
from vision_attn.training.processes.launcher import Launch

MEET = 300.0  # seconds within which all processes have to start
POLL = 0.5  # seconds between looks at the store
SILENT = 40.0  # seconds without a heartbeat after which a process counts as lost
HEARD = 8.0  # seconds that a failed process waits for rank zero to print its error
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Gloo")
"""Parts of torch's messages when another process is gone."""


class ProcessGroup:
    """All processes of one training.

    Args:
        launch: this process.
        store: the key-value store, which all processes share.

    Attributes:
        rank: the number of this process.
        count: how many there are.
    """

    def __init__(self, launch: Launch, store: dist.Store) -> None:
        self.launch = launch
        self.rank, self.count = launch.rank, launch.count
        self.store = dist.PrefixStore("vision-attn", store)
        self.barriers = 0
        self.leaving = threading.Event()
        self.one_speaks = threading.Lock()  # the watcher, or the thread that failed
        self.watcher = threading.Thread(target=self.watch, daemon=True)

    @classmethod
    def meet(cls, launch: Launch) -> Self:
        """Connect with the other processes.

        Raises:
            UserError: they did not all start in time.
        """
        environment = launch.environment()
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
        try:
            timeout = timedelta(seconds=MEET)
            store, _, _ = next(
                dist.rendezvous("env://", launch.rank, launch.count, timeout=timeout)
            )
            group = cls(launch, store)
            group.barrier(MEET)
        except (OSError, RuntimeError, ValueError) as error:  # dist.DistError is a RuntimeError
            raise UserError(
                f"process {launch.rank} of {launch.count} ({launch.launcher}) found no other at "
                f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({one_line(error, 80)}); "
                "are all of them started, by srun or torchrun, with the same MASTER_ADDR?"
            ) from error
        group.watcher.start()
        return group

    def tell(self, key: str, value: str) -> None:
        """Tell the other processes a text."""
        self.store.set(key, value)

    def hear(self, key: str) -> str:
        """The text that another process tells, once it does; the watcher ends a vain wait."""
        while not self.store.check([key]):
            time.sleep(POLL)
        return self.store.get(key).decode()

    def barrier(self, limit: float = float("inf")) -> None:
        """Wait until all processes are here.

        Raises:
            TimeoutError: the others did not come within `limit` seconds.
        """
        self.barriers += 1
        key, end = f"barrier/{self.barriers}", time.monotonic() + limit
        self.store.add(key, 1)
        while self.store.add(key, 0) < self.count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.store.add(key, 0)} of them came in {limit:g} s")
            time.sleep(POLL / 5)

    def watch(self) -> None:
        """Write heartbeats, and end this process when another one fails or is silent."""
        store = self.store.clone()
        seen: dict[int, tuple[int, float]] = {}
        # Rank zero watches all others, and they watch it.
        watched = range(1, self.count) if self.rank == 0 else range(1)
        while not self.leaving.wait(POLL):
            try:
                store.add(f"beat/{self.rank}", 1)
                if store.check(["failed"]):
                    self.end(store.get("failed").decode(), store)
                silent = [rank for rank in watched if self.is_silent(store, rank, seen)]
            except (RuntimeError, OSError):  # the store is gone, and rank zero with it
                if not self.leaving.is_set():
                    self.end("the connection to rank zero is lost", None)
                return
            if silent:
                message = f"process {silent[0]} of {self.count} has ended or hangs"
                store.set("failed", message)
                self.end(message, store)

    def is_silent(self, store: dist.Store, rank: int, seen: dict[int, tuple[int, float]]) -> bool:
        """Whether a process has written no heartbeat for too long; `seen` is updated."""
        beat, now = store.add(f"beat/{rank}", 0), time.monotonic()
        if rank not in seen or seen[rank][0] != beat:
            seen[rank] = (beat, now)
        return now - seen[rank][1] > SILENT

    def end(self, message: str, store: dist.Store | None) -> None:
        """End this process at once, wherever it is; rank zero prints why."""
        if self.leaving.is_set() or not self.one_speaks.acquire(blocking=False):
            return
        if self.rank == 0 or store is None:
            with redirect_stderr(sys.__stderr__):
                say_error(f"{message}, so all processes end.")
        if self.rank == 0 and store is not None:
            store.set("printed", "yes")
            time.sleep(POLL)  # the others read it
        os._exit(2)

    def fail(self, message: str) -> bool:
        """Tell the others that this process has failed; returns whether rank zero prints it."""
        self.one_speaks.acquire()  # for ever: the process ends, here or in the watcher
        try:
            self.store.compare_set("failed", "", f"process {self.rank} of {self.count}: {message}")
            if self.rank == 0:
                self.leaving.set()
                self.store.set("printed", "yes")
                time.sleep(2 * POLL)  # the others read it
                return False
            self.leaving.set()
            end = time.monotonic() + HEARD
            while time.monotonic() < end:
                if self.store.check(["printed"]):
                    return True
                time.sleep(POLL)
        except (RuntimeError, OSError):  # rank zero is gone
            self.leaving.set()
        return False

    def leave(self) -> None:
        """Wait until all processes are done; rank zero goes last, since others use its store."""
        self.barrier()
        self.leaving.set()
        self.watcher.join()
        self.store.add("left", 1)
        end = time.monotonic() + HEARD
        while self.rank == 0 and self.store.add("left", 0) < self.count and time.monotonic() < end:
            time.sleep(POLL / 5)


@contextmanager
def joined(launch: Launch) -> Iterator[ProcessGroup]:
    """The group of processes of a training; a failure in one of them ends all, with one line.

    Rank zero alone prints.

    Raises:
        UserError: this process or another one failed.
    """
    group = ProcessGroup.meet(launch)
    with ExitStack() as silent:
        if launch.rank:
            nowhere = silent.enter_context(open(os.devnull, "w"))  # noqa: PTH123  (a device)
            silent.enter_context(redirect_stdout(nowhere))
            silent.enter_context(redirect_stderr(nowhere))
        try:
            yield group
        except UserError as error:
            if group.fail(str(error).removesuffix(".")):
                raise AlreadyPrinted(str(error)) from error
            raise
        except RuntimeError as error:
            lost = any(words in str(error) for words in LOST)
            reason = "another process has ended" if lost else one_line(error)
            told = group.fail(reason)
            if not lost:
                raise
            kind = AlreadyPrinted if told else UserError
            raise kind(f"{reason}, so all end (why: its output; then --resume).") from error
        except BaseException as error:
            group.fail(one_line(error))
            raise
        group.leave()
