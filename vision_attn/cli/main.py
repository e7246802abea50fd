"""The front door: a static table of verbs. Stdlib only, so that --help answers at once."""

import importlib
import sys
from collections.abc import Sequence

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.version import __version__

VERBS = {
    "fit": "train a model on a folder of images or a named data set",
    "validate": "score a run on its validation images",
    "test": "score a run on its test images, or on other images",
    "check": "tell what is wrong with a folder of images before hours are lost",
    "predict": "classify image files and folders, into CSV, JSON Lines or Parquet",
    "explain": "draw where a run looked, for image files and folders",
    "evaluate": "score how far each kind of map can be believed",
    "export": "write a run's model for other programs: ONNX, torch.export, the Hub",
    "report": "write one page on a run: scores, mistakes with their evidence, curves",
}

HELP = """usage: vision-attn VERB ...

The image classifier that shows where it looked.

{verbs}

vision-attn VERB --help tells the options of a verb; --debug shows the traceback of an error.
Start with:  vision-attn fit --data shapes
"""


def help_text() -> str:
    """The page that `vision-attn --help` prints."""
    return HELP.format(verbs="\n".join(f"  {verb:<10} {what}" for verb, what in VERBS.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    0 done, 1 done but for files that could not be read, 2 something the user can put right.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text(), end="")
        return 0
    if words[0] == "--version":
        print(f"vision-attn {__version__}")
        return 0
    debug = "--debug" in words
    try:
        return dispatch(words[0], [word for word in words[1:] if word != "--debug"])
    except UserError as error:
        if debug:
            raise
        print(f"vision-attn: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        from vision_attn.core.atomic import is_unwritable, unwritten

        if debug or not is_unwritable(error):
            raise
        print(f"vision-attn: {unwritten(error.filename or 'a file', error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vision-attn: interrupted", file=sys.stderr)
        return 130


def dispatch(verb: str, words: list[str]) -> int:
    """Import the verb's module, and only it, and hand it the rest of the line."""
    if verb not in VERBS:
        hint = did_you_mean(verb, VERBS)
        raise UserError(f"there is no verb '{verb}'.{hint} The verbs: {', '.join(VERBS)}.")
    return importlib.import_module(f"vision_attn.cli.{verb}").run(words)


def entry_point() -> None:
    """What the installed command `vision-attn` calls."""
    sys.exit(main())
