"""Watch what Python code does to the machine: processes, connections, and files it changes.

Python reports these acts to audit hooks. What compiled code writes is not reported; for that,
compare a folder before and after with `content_of`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROCESSES = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
    "os.forkpty", "pty.spawn",
}  # fmt: skip
CONNECTIONS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
CHANGES = {  # event: which of its arguments are the changed path and the folder it starts from
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.link": ((1, 3),),
    "os.rename": ((0, 2), (1, 3)),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.truncate": ((0, None),),
}
SEARCH_PATH = [sys.executable, "-c", "import sys, json; print(json.dumps(sys.path))"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(RuntimeError):
    """An act that the watch has stopped."""


class Watch:
    """An audit hook that stops and lists processes, connections and changes elsewhere.

    Python cannot remove an audit hook, so there is one watch for a process, switched on and off.

    Attributes:
        found: (kind, what) of each act; kinds are "process", "connection" and "outside".
        allowed_processes: how often git was asked for the commit, or Python for its search path (as
            jsonargparse does to find type stubs).
        allowed: folders in which files may change.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self.allowed_processes = 0
        self.allowed: tuple[str, ...] = ()
        self.is_on = False
        sys.addaudithook(self.hook)

    @contextmanager
    def watching(self, *allowed: Path) -> Iterator[None]:
        """A context in which acts are listed, with the folders that may change."""
        self.allowed = tuple(os.path.realpath(folder) + os.sep for folder in allowed)
        self.is_on = True
        try:
            yield
        finally:
            self.is_on = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What Python calls for each act."""
        if not self.is_on:
            return
        if event in PROCESSES:
            self.process(event, arguments)
        elif event in CONNECTIONS:
            self.stop("connection", f"{event} {arguments}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and not isinstance(path, int):
                self.change(event, os.path.realpath(path), path)
        elif event in CHANGES:
            for which, folder in CHANGES[event]:
                start = arguments[folder] if folder is not None and folder < len(arguments) else -1
                self.change(event, changed_path(arguments[which], start), arguments[which])

    def process(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Stop a process, unless it asks git for a commit, or Python for its search path."""
        words = arguments[1] if len(arguments) > 1 else None
        if isinstance(words, list | tuple) and (
            list(words[:2]) == ["git", "-C"] or list(words) == SEARCH_PATH
        ):
            self.allowed_processes += event == "subprocess.Popen"
            return
        self.stop("process", f"{event} {str(arguments[:2])[:300]}")

    def change(self, event: str, path: str | bytes, given: object) -> None:
        """Stop a change outside the allowed folders."""
        path = os.fsdecode(path)
        if not f"{path}{os.sep}".startswith((*self.allowed, "/dev/null/", "/proc/self/")):
            self.stop("outside", f"{event} {given!r} -> {path}")

    def stop(self, kind: str, what: str) -> None:
        """List an act, and stop it."""
        self.found.append((kind, what))
        raise Refused(f"{kind}: {what}")


def changed_path(path: object, start: object) -> str:
    """The path whose entry changes: its folder's links are followed, but not a link itself."""
    if isinstance(path, int):
        return str(Path(f"/proc/self/fd/{path}").readlink())
    text = os.fsdecode(path)  # type: ignore[arg-type]
    if isinstance(start, int) and start >= 0:
        text = os.path.join(Path(f"/proc/self/fd/{start}").readlink(), text)  # noqa: PTH118
    folder, name = os.path.split(text.rstrip(os.sep))
    return os.path.join(os.path.realpath(folder or "."), name)  # noqa: PTH118


def content_of(folder: Path) -> dict[str, bytes]:
    """The files and folders in a folder, with the files' contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }
