"""`vision-attn predict`: the probability of every class, for any number of image files."""

from pathlib import Path

from vision_attn.cli.arguments import ArgumentParser, check_at_least, free_file
from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say

EPILOG = """PATH: an image file, a folder (with its subfolders), a pattern ('photos/**/*.jpg') or
@list.txt, a file with one path per line. Rows are in that order; an image named twice has two.

The file extension of --out sets the format:
  .csv      file, predicted, probability, error, and p_CLASS for every class
  .parquet  the same columns; needs pip install 'vision-attn[parquet]'
  .jsonl    {"file", "predicted", "probability", "error", "probabilities": {CLASS: ...}}
Without --out the most probable classes are printed.

Until all rows are written, they are in FILE.part. After an interruption, the same command with
--resume continues from there.

Exit code: 0 all were read; 1 done, but some files could not be read (see their error); 2 not done.
"""


def parser() -> ArgumentParser:
    """The options of the command."""
    found = ArgumentParser("predict", "Classify image files.", EPILOG)
    found.add_run()
    add = found.add_argument
    add("paths", nargs="*", metavar="PATH", help="image files, folders, patterns, @lists")
    add("--list", action="append", default=[], metavar="FILE", help="the same as @FILE")
    add("--out", metavar="FILE", help="a new file: .csv, .jsonl or .parquet")
    add("--resume", action="store_true", help="resume an interrupted prediction")
    add("--batch_size", type=int, default=64, metavar="N", help="images per batch (%(default)s)")
    return found


def run(argv: list[str]) -> int:
    """Classify every image that can be read; exit code 1 if one could not."""
    options = parser().parse_args(argv)
    paths = [*options.paths, *(f"@{name}" for name in options.list)]
    if not paths:
        raise UserError("name the images: vision-attn predict RUN PATH... or --list FILE.")
    check_at_least(options, batch_size=1)
    if options.resume and not options.out:
        raise UserError("--resume needs the table to resume: --out FILE.")
    out: Path | None = free_file(options.out) if options.out else None

    from vision_attn.inference.predict_files import predict_to_file, print_predictions
    from vision_attn.inference.trained_model import load

    model = load(options.run, options.trust)
    if out is None:
        return 1 if print_predictions(model, paths, options.batch_size) else 0
    counts = predict_to_file(model, paths, out, options.batch_size, options.resume)
    say(f"{counts.describe()} in {out}")
    return 1 if counts.unreadable else 0
