"""Export to a web page: a folder for any static host, which classifies and explains photos."""

import shutil
from collections.abc import Collection
from importlib.resources import as_file, files
from pathlib import Path

import PIL

from vision_attn.core.atomic import write_json
from vision_attn.export.base import Exporter, InputSizes, RunModel, description
from vision_attn.export.onnx import Onnx
from vision_attn.export.web_runtime import VERSION, runtime_files
from vision_attn.runs.loaded_model import LoadedModel

MODEL = "model.onnx"
DESCRIPTION = "about.json"
RUNTIME = "onnxruntime"  # the folder of onnxruntime-web
TALL_FIRST = 13  # Pillow's version that resizes tall images vertically first (its issue 9549)
PILLOW = int(PIL.__version__.partition(".")[0])
NAMES = {"ort.wasm.bundle.min.mjs": "ort.js"}
"""New names of its files: some hosts do not know .mjs as JavaScript, so browsers refuse it."""


class Web(Exporter):
    """A folder with a page, the model as ONNX, and onnxruntime-web, which runs it in the browser.

    The page asks no other host for anything, so photos stay on the visitor's device.

    Args:
        runtime: a folder with the files of onnxruntime-web; None takes them from the user's cache,
            and downloads them once.
    """

    file_name = "web"
    title = f"a web page, with onnxruntime-web {VERSION}"

    def __init__(self, runtime: str | Path | None = None) -> None:
        self.runtime = runtime
        self.onnx = Onnx(fixed_size=True)  # the page resizes each photo to the model's size

    def check_installed(self) -> None:
        """Check that the `onnx` extra is installed, and get onnxruntime-web.

        Raises:
            UserError: a library is missing, or onnxruntime-web cannot be had.
        """
        self.onnx.check_installed()
        runtime_files(self.runtime)

    def write(self, trained: LoadedModel, path: Path) -> InputSizes:
        """Write the page, the model, its description and onnxruntime-web with its license."""
        runtime = runtime_files(self.runtime)
        with as_file(files("vision_attn.export") / "page") as page:
            shutil.copytree(page, path)
        for name, file in runtime.items():
            shutil.copyfile(file, path / RUNTIME / NAMES.get(name, name))
        sizes = self.onnx.write(trained, path / MODEL)
        reading = {"tall_first": PILLOW >= TALL_FIRST}
        write_json(path / DESCRIPTION, description(trained, sizes) | reading)
        return sizes

    def open(self, path: Path, trusted: Collection[str] = ()) -> RunModel:
        """Open the model in onnxruntime on the CPU, the same program as in the browser."""
        return self.onnx.open(path / MODEL)
