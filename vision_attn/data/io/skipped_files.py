"""Count the files and folders that a search for images skipped, and say so in one line."""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from vision_attn.core.terminal import say
from vision_attn.data.io.formats import EXTENSIONS, NEEDS

FOREIGN_FOLDERS = frozenset({"__MACOSX", "__pycache__"})
"""Folders that archives and programs leave behind."""
RUN_FILES = {"config.yaml", "environment.json"}  # both are in every run folder
MANIFEST = "manifest.json"  # in every folder of `explain`, beside its maps
MAX_ENDINGS = 4  # named in the line


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an archive or a program.

    >>> [is_hidden(name) for name in (".git", "__MACOSX", "__background__", "cat.png")]
    [True, True, False, False]
    """
    return name.startswith(".") or name in FOREIGN_FOLDERS


def is_image_name(name: str) -> bool:
    """Whether a file has the ending of an image that can be read.

    >>> is_image_name("a.JPG"), is_image_name("a.txt"), is_image_name("a")
    (True, False, False)
    """
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122  # millions of names


def made_by_us(names: Collection[str]) -> bool:
    """Whether a folder with these files is a run folder, or one that `explain` wrote.

    >>> made_by_us(["config.yaml", "environment.json"]), made_by_us(["manifest.json", "a.npy"])
    (True, True)
    >>> made_by_us(["config.yaml", "cat.png"])
    False
    """
    if RUN_FILES.issubset(names):
        return True
    return MANIFEST in names and any(name.endswith(".npy") for name in names)


class SkippedFiles:
    """Files and folders that were skipped, counted by reason, each with its first example."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Path] = {}
        self.endings: Counter[str] = Counter()

    def add(self, reason: str, path: Path, count: int = 1) -> None:
        """Count `count` paths that were skipped for a reason; `path` is an example."""
        self.counts[reason] += count
        self.first.setdefault(reason, path)

    def add_ending(self, path: Path) -> None:
        """Count a file that was skipped since its ending is not one of an image."""
        self.endings[path.suffix.lower()] += 1
        self.first.setdefault("", path)

    def update(self, other: "SkippedFiles") -> None:
        """Add what another search skipped."""
        self.counts.update(other.counts)
        self.endings.update(other.endings)
        self.first = other.first | self.first

    def line(self, root: Path | None = None) -> str:
        """What was skipped, in one line; empty if nothing was.

        Args:
            root: the folder that the examples are named relative to.

        >>> skipped = SkippedFiles()
        >>> skipped.add("hidden folders", Path("photos/.cache"))
        >>> skipped.add_ending(Path("photos/a/1.dcm")); skipped.add_ending(Path("photos/a/2.dcm"))
        >>> skipped.line(Path("photos"))  # doctest: +NORMALIZE_WHITESPACE
        'hidden folders: 1 (.cache); files by their ending: 2 .dcm (a/1.dcm; DICOM is not read:
        convert it to 16-bit PNG or TIFF)'
        """
        parts = [
            f"{reason}: {count:,} ({short(self.first[reason], root)})"
            for reason, count in self.counts.items()
        ]
        return "; ".join([*parts, *self.ending_parts(root)])

    def report(self, root: Path | None = None) -> None:
        """Print the line on standard error, where it is in nobody's table; nothing if it is empty.

        Args:
            root: the folder that the examples are named relative to.
        """
        if line := self.line(root):
            say(f"skipped   {line}", error=True)

    def ending_parts(self, root: Path | None) -> list[str]:
        """The files that were skipped by their endings, as a part of the line."""
        if not self.endings:
            return []
        listed = [
            f"{count:,} {ending or 'without one'}"
            for ending, count in self.endings.most_common(MAX_ENDINGS)
        ]
        others = len(self.endings) - len(listed)
        more = [f"{others} other endings"] * (others > 0)
        advice = [NEEDS[ending] for ending, _ in self.endings.most_common() if ending in NEEDS]
        named = "; ".join([short(self.first[""], root), *advice[:1]])
        return [f"files by their ending: {', '.join(listed + more)} ({named})"]


def short(path: Path, root: Path | None) -> str:
    """A path relative to `root`; as it is if there is no root, or the path is elsewhere."""
    return str(path.relative_to(root) if root and path.is_relative_to(root) else path)
