"""`vision-attn demo`: open a run's web page on this computer."""

from vision_attn.cli.arguments import ArgumentParser
from vision_attn.core.terminal import say

EPILOG = """The page is the one that "vision-attn export RUN --format web" writes. It is made once,
and kept in the user's cache folder; needs pip install "vision-attn[onnx]".
"""


def parser() -> ArgumentParser:
    """The options of the command."""
    found = ArgumentParser("demo", "Classify and explain photos in the browser.", EPILOG)
    found.add_run()
    add = found.add_argument
    add("--port", type=int, default=0, metavar="N", help="(a free one)")
    add("--host", default="127.0.0.1", metavar="IP", help="address to serve at (%(default)s)")
    add("--no_browser", action="store_true", help="print the address, and open no browser")
    add("--runtime", metavar="DIR", help="onnxruntime-web's files, to download nothing")
    add("--images", nargs="+", metavar="PATH", help="compare on these, not the run's own images")
    return found


def run(argv: list[str]) -> int:
    """Make the page if it is new, and serve it; exit code 1 if its model differs."""
    options = parser().parse_args(argv)

    from vision_attn.export import delivery, demo
    from vision_attn.training.restore import comparison_images

    address = demo.Address(options.host, options.port)
    address.check()
    export = demo.prepare(options.run, options.runtime, options.trust)
    if export is not None:
        try:
            demo.make(export, comparison_images(options.run, options.images, options.trust))
        except delivery.ParityError as error:
            say(f"vision-attn: nothing was written: {error}.", error=True)
            return 1
    demo.serve(demo.page_folder(options.run), address, not options.no_browser)
    return 0
