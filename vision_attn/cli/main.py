"""The command line: a table of commands, standard library only, so that --help is immediate."""

import importlib
import os
import sys
from collections.abc import Sequence

from vision_attn.core.errors import AlreadyPrinted, UserError, did_you_mean
from vision_attn.core.terminal import say, say_error
from vision_attn.core.version import __version__

COMMANDS = {
    "fit": "train a model on a folder of images or a named data set",
    "validate": "score a run on its validation images",
    "test": "score a run on its test images, or on other images",
    "check": "find problems in a folder of images before training on it",
    "predict": "classify image files and folders, into CSV, JSON Lines or Parquet",
    "explain": "draw where a run looked, for image files and folders",
    "evaluate": "score how faithful each kind of heatmap is",
    "export": "write a run's model for other programs: ONNX, torch.export, the Hub, a web page",
    "demo": "classify and explain photos in the browser",
    "report": "write one page on a run: scores, mistakes with their evidence, curves",
}
ALIASES = {"train": "fit", "val": "validate"}

SPINS = "3000"  # of a waiting thread; measured by scripts/bench_waiting.py

HELP = """usage: vision-attn COMMAND ...

The image classifier that shows where it looked.

{commands}

vision-attn COMMAND --help lists the options of a command; --debug shows the traceback of an error.
Start with:  vision-attn fit --data shapes
"""


def help_text() -> str:
    """The page that `vision-attn --help` prints."""
    return HELP.format(
        commands="\n".join(f"  {command:<10} {what}" for command, what in COMMANDS.items())
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: done, except for what was named. 2: not done, for a reason that the user can fix.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        for line in help_text().splitlines():
            say(line)
        return 0
    if words[0] == "--version":
        say(f"vision-attn {__version__}")
        return 0
    debug = "--debug" in words
    try:
        return run_command(words[0], [word for word in words[1:] if word != "--debug"])
    except UserError as error:
        if debug:
            raise
        if not isinstance(error, AlreadyPrinted):
            say_error(error)
        return 2
    except OSError as error:
        from vision_attn.core.atomic import is_refused_by_system, is_write_error, write_error

        if debug or not (is_write_error(error) or is_refused_by_system(error)):
            raise
        path = error.filename or "a file"
        named = f"{path}: {error.strerror}." if is_refused_by_system(error) else ""
        say_error(named or write_error(path, error))
        return 2
    except KeyboardInterrupt:
        say("vision-attn: interrupted", error=True)
        return 130


def run_command(name: str, argv: list[str]) -> int:
    """Import the module of a command, and only that, and run it."""
    name = ALIASES.get(name, name)
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        raise UserError(f"unknown command '{name}'.{hint} Commands: {', '.join(COMMANDS)}.")
    words = [with_underscores(word) for word in argv]
    return importlib.import_module(f"vision_attn.cli.{name}").run(words)


def with_underscores(word: str) -> str:
    """An option with underscores for hyphens; other words stay.

    >>> with_underscores("--run-dir=my-run"), with_underscores("my-run")
    ('--run_dir=my-run', 'my-run')
    """
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def entry_point() -> None:
    """What the installed command `vision-attn` calls, and `python -m vision_attn`."""
    wait_briefly()
    sys.exit(main())


def wait_briefly() -> None:
    """Let OpenMP's threads wait actively for microseconds only, unless the user has chosen.

    GNU's OpenMP, which torch brings, spins 300,000 times by default. Beside another busy process
    that makes training several times slower (RESULTS.md, "Threads that wait"). It is read when
    torch is imported; other OpenMP libraries ignore it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
