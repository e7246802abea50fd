"""How a run was made: time, machine, seed, command and commit, as `environment.json` has them."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

Start = Mapping[str, Any]
"""An entry of `environment.json`, as JSON holds it."""


def about_start(start: Start) -> list[tuple[str, str]]:
    """Name and text of each fact about the start of a training; what was not recorded is left out.

    Reports are sent to other people, so folders of this machine are left out.

    >>> about_start({"seed": 0, "command": ["fit", "--data", "/home/anna/bees"]})
    [('seed', '0'), ('command', 'vision-attn fit --data …/bees')]
    """
    git = (start.get("git") or {}).get("code") or {}
    changed = " with uncommitted changes" if git.get("changed") else ""
    versions = start.get("versions") or {}
    named = ", ".join(f"{name} {versions[name]}" for name in VERSIONS if name in versions)
    words = start.get("command") or []
    facts = {
        "trained": time_text(start),
        "machine": machine_text(start.get("hardware") or {}),
        "seed": str(start.get("seed", "")),
        "command": "vision-attn " + " ".join(map(without_folders, words)) if words else "",
        "commit": f"{git['commit'][:12]}{changed}" if git.get("commit") else "",
        "versions": named,
    }
    return [(name, text) for name, text in facts.items() if text]


VERSIONS = ("vision_attn", "python", "torch", "timm")


def time_text(start: Start) -> str:
    """When a training started, and when it ended, if it was recorded.

    >>> time_text({"started": "2026-11-27T18:11:29+00:00"})
    '2026-11-27 18:11:29'
    """
    started, finished = (str(start.get(key, ""))[:19] for key in ("started", "finished"))
    return " to ".join(text.replace("T", " ") for text in (started, finished) if text)


def machine_text(hardware: Mapping[str, Any]) -> str:
    """The processors of a machine.

    >>> machine_text({"cpu": "Xeon", "cores": 2, "gpus": ["H100"]})
    'Xeon, 2 cores, GPU H100'
    """
    cores = f"{hardware['cores']} cores" if hardware.get("cores") else ""
    gpus = ", ".join(f"GPU {name}" for name in hardware.get("gpus") or [])
    return ", ".join(text for text in (str(hardware.get("cpu") or ""), cores, gpus) if text)


def without_folders(word: str) -> str:
    r"""A word of a command line, of a path the last part only.

    >>> without_folders("--data=/home/anna/bees"), without_folders("shapes")
    ('--data=…/bees', 'shapes')
    """
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    path = PurePath(value.replace("\\", "/"))
    short = f"…/{path.name}" if len(path.parts) > 1 else value
    return f"{option}{equals}{short}"
