"""`vision-attn explain`: heatmaps over the input pixels, for image files and folders."""

from pathlib import Path

from vision_attn.cli.arguments import ArgumentParser, check_at_least, names_in, output_folder
from vision_attn.core.terminal import say

DEFAULT_EXPLAINERS = "attention,evidence,contrast,grad_cam"
EPILOG = """PATH: an image file, a folder, a pattern ('photos/**/*.jpg'), or @list.txt, a file with
one path per line.

Exit code: 0 all images were drawn; 1 done, but some could not be read; 2 not done.
"""


def parser() -> ArgumentParser:
    """The options of the command."""
    found = ArgumentParser("explain", "Draw where a run looked, one sheet per image.", EPILOG)
    found.add_run()
    add = found.add_argument
    add("paths", nargs="+", metavar="PATH", help="image files and folders")
    add("--explainers", default=DEFAULT_EXPLAINERS, metavar="A,B", help="default: %(default)s")
    add("--target", metavar="CLASS", help="the class to explain (the predicted one)")
    add("--against", metavar="CLASS", help="contrast with this class, not the strongest rival")
    add("--classes", type=int, default=0, metavar="N", help="maps of the N most probable classes")
    add("--heads", action="store_true", help="the attention of each head, up to 16")
    add("--windows", action="store_true", help="the windows of local heads")
    about = "delete the strongest of 4x4 cells: does the logit drop as evidence says?"
    add("--verify", action="store_true", help=about)
    add("--truth", metavar="PATH", help="outline objects: boxes.csv, or a folder of masks")
    add("--cells", action="store_true", help="draw the borders of each map's cells")
    about = "each image has its own color scale, or all share one (%(default)s)"
    add("--scale", choices=("own", "shared"), default="own", help=about)
    add("--out", metavar="DIR", help="where to write (RUN/pictures/<date-time>)")
    add("--batch_size", type=int, default=16, metavar="N", help="images per batch (%(default)s)")
    return found


def run(argv: list[str]) -> int:
    """Explain every image that can be read; exit code 1 if one could not."""
    options = parser().parse_args(argv)
    check_at_least(options, batch_size=1)

    from vision_attn.inference.explanation_files import explain_files, request_for
    from vision_attn.inference.trained_model import load

    model = load(options.run, options.trust)
    request = request_for(
        model,
        names_in(options.explainers),
        options.target,
        options.against,
        options.classes,
        options.heads,
        options.windows,
        options.verify,
    )
    truth = Path(options.truth) if options.truth else None
    with output_folder(options.out, model.folder.pictures) as out:
        drawn = explain_files(
            model,
            options.paths,
            request,
            out,
            options.cells,
            truth,
            options.batch_size,
            options.scale == "shared",
        )
    if drawn.outlined:
        say(f"objects    known in {drawn.outlined} of {drawn.sheets} images")
    if drawn.verified:
        say(f"verified   {drawn.verification}")
    for line in drawn.incomplete:
        say(f"adds up    {line}")
    for failure in drawn.failures:
        say(f"vision-attn: {failure}", error=True)
    say(f"{drawn.sheets} sheet{'s' * (drawn.sheets != 1)} in {out}")
    return 1 if drawn.failures else 0
