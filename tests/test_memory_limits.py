"""Small files that would take gigabytes are refused before they do, in a process with a limit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import TINY_RUN
from tests.test_untrusted import LAUGHS, Trained

ROOT = Path(__file__).parent.parent
MEMORY = 1024  # MiB beyond what the imports take
# The limit is on address space. One thread for arithmetic and one heap for all threads, so that
# the number of cores, and what the C library sets apart per thread, take none of it.
SETTINGS = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, as Linux has it"),
    pytest.mark.slow,  # each imports everything in a new process
]


def limited(words: list[str], folder: Path) -> tuple[int, str]:
    """Run a command in a folder with limited memory; returns its exit code and its errors."""
    command = [sys.executable, "-m", "tests.memory_limit", str(MEMORY), *words]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


class Bytes(bytearray):
    """Pickled as a call: a few bytes of file, any number of bytes in memory."""

    def __reduce__(self) -> tuple:
        return (bytearray, (6 * 2**30,))


def byte_array(path: Path) -> None:
    torch.save({"state_dict": Bytes()}, path)


def meta_tensor(path: Path) -> None:
    torch.save({"state_dict": {"head.weight": torch.empty(2**40, device="meta")}}, path)


def sparse_tensor(path: Path) -> None:
    tensor = torch.sparse_coo_tensor([[0]], [1.0], (2**40,))
    torch.save({"state_dict": {"head.weight": tensor}}, path)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("write", [byte_array, meta_tensor, sparse_tensor])
def test_a_checkpoint(write: Callable[[Path], None], trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    write(path)
    assert path.stat().st_size < 4096
    words = ["fit", "--data", str(trained[1]), "--run_dir", "new", *TINY_RUN]
    code, errors = limited([*words, "--init_from", "weights.ckpt"], tmp_path)
    assert code == 2
    assert "weights.ckpt" in errors
    assert not (tmp_path / "new").exists()


def test_a_parquet_table_of_equal_rows(trained: Trained, tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    text = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(40_000_000, np.int8)), pa.array(["a.png"])
    )
    parquet.write_table(pa.table({"path": text, "label": text}), tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").stat().st_size < 2**20
    code, errors = limited(["fit", "--data", "rows.parquet", "--run_dir", "new"], tmp_path)
    assert code == 2
    assert "more than 5,000,000 rows" in errors


WIDE_STEM = {"channels": [8, 8, 16, 16], "stem_width": 64}
SPECS = {
    "a mask of a Swin": (
        {"backbone": "swin_tiny_patch4_window7_224", "backbone_options": {"img_size": 14_000}},
        "a number over 8192",
    ),
    "a smaller mask of a Swin": (
        {"backbone": "swin_tiny_patch4_window7_224", "backbone_options": {"img_size": 8064}},
        "is refused: it has a tensor of",
    ),
    "feature maps": (
        {"image_size": 4096, "removed_strides": 0, "backbone_options": WIDE_STEM},
        "is refused: it has a tensor of",
    ),
    "removed strides": ({"image_size": 4096, "removed_strides": 2}, "removed_strides"),
    "channels": (
        {"backbone_options": {"channels": [8, 8, 16, 8192]}}, "is refused: it has a tensor of"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), SPECS.values(), ids=SPECS)
def test_a_specification(
    changes: dict[str, object],
    message: str,
    run: Path,
    trained: Trained,
    tmp_path: Path,
) -> None:
    spec = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(spec | changes))
    code, errors = limited(["predict", "run", str(trained[1] / "test")], tmp_path)
    assert (code, message in errors) == (2, True), errors


MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}\n" for k in range(1, 10)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGES], ids=["aliases", "merge keys"])
def test_a_yaml_file(text: str, run: Path, tmp_path: Path) -> None:
    assert isinstance(yaml.compose(text), yaml.Node)
    (run / "config.yaml").write_text(text)
    code, errors = limited(["export", "run", "--format", "hub", "--out", "hub"], tmp_path)
    assert (code, "config.yaml is refused" in errors) == (2, True), errors


def test_a_json_file(run: Path, trained: Trained, tmp_path: Path) -> None:
    (run / "model.json").write_text("[" + "[]," * 2**25 + "[]]")
    code, errors = limited(["predict", "run", str(trained[1] / "test")], tmp_path)
    assert (code, "model.json is refused" in errors) == (2, True), errors


def test_a_float_image(run: Path, tmp_path: Path) -> None:
    """Nearly as large as allowed. It takes 740 MiB: its pixels (337), as many as RGB, the model.

    With a third copy of the pixels it would fail.
    """
    image = Image.fromarray(np.zeros((9400, 9400), np.float32))
    image.save(tmp_path / "float.tif", compression="tiff_deflate")
    assert (tmp_path / "float.tif").stat().st_size < 2**20
    code, errors = limited(["predict", "run", "float.tif", "--out", "out.csv"], tmp_path)
    assert code == 0, errors


def test_the_limit_holds(tmp_path: Path) -> None:
    """An array over the limit of the process cannot be made, so the tests above can fail."""
    words = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({2**32}, {2**32}))"
    code = f"{words}; bytearray(6 * 2**30)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr
