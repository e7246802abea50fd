"""Run a command with limited memory: `python -m tests.memory_limit MIB COMMAND ...`."""

import importlib
import pkgutil
import resource
import sys
from pathlib import Path

import vision_attn
from vision_attn.cli.main import main


def import_all() -> None:
    """Import the whole package, so that the limit is on top of what its libraries take."""
    for module in pkgutil.walk_packages(vision_attn.__path__, "vision_attn."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def address_space() -> int:
    """Bytes of address space that this process uses."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    import_all()
    limit = address_space() + int(sys.argv[1]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.exit(main(sys.argv[2:]))
