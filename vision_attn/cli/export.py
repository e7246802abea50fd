"""`vision-attn export`: write a run's model for other programs, after a parity check."""

from pathlib import Path

from vision_attn.cli.arguments import ArgumentParser
from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say

EPILOG = """formats:
  onnx           one .onnx file, for onnxruntime and others (pip install "vision-attn[onnx]")
  torch_export   one .pt2 file, for PyTorch without this package
  hub            a folder for the Hugging Face Hub, which every command takes as a run, too
  web            a folder with a page that classifies and explains photos in the browser, for any
                 web server; needs the extra onnx, and downloads onnxruntime-web once (33 MB)

The export is opened again and compared with the model on real images, in batches of several
sizes. If any value of any output differs by more than the tolerance, nothing is written and the
exit code is 1.
"""


def parser() -> ArgumentParser:
    """The options of the command."""
    found = ArgumentParser("export", "Write a run's model for other programs.", EPILOG)
    found.add_run()
    add = found.add_argument
    add("--format", default="onnx", metavar="NAME", help="one of those below (%(default)s)")
    add("--out", metavar="PATH", help="a new file or folder (in RUN: model.onnx, web, ...)")
    add("--opset", type=int, metavar="N", help="version of ONNX's operators (18)")
    add("--fixed_size", action="store_true", help="accept images of the model's own size only")
    add("--runtime", metavar="DIR", help="onnxruntime-web's files for web, to download nothing")
    add("--images", nargs="+", metavar="PATH", help="compare on these, not the run's own images")
    add("--tolerance", type=float, default=1e-4, metavar="X", help="(%(default)s)")
    return found


def run(argv: list[str]) -> int:
    """Export and compare; exit code 1 if the export differs from the model."""
    options = parser().parse_args(argv)
    if not options.tolerance > 0:
        raise UserError(f"--tolerance must be above 0, not {options.tolerance}.")

    from vision_attn.export.delivery import Export, ParityError
    from vision_attn.training.restore import comparison_images

    given = {
        "opset": options.opset,
        "fixed_size": options.fixed_size or None,
        "runtime": options.runtime,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    out = Path(options.out) if options.out else None
    export = Export.prepare(
        options.run, options.format, out, chosen, options.tolerance, options.trust
    )
    images = comparison_images(options.run, options.images, options.trust)
    say(f"format     {export.exporter.title}")
    try:
        lines = export.write(images)
    except ParityError as error:
        say(f"vision-attn: nothing was written: {error}.", error=True)
        return 1
    for line in lines:
        say(line)
    return 0
