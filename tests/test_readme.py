"""What the README shows works as it stands."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY_RUN
from vision_attn.cli.main import ALIASES, COMMANDS, main
from vision_attn.inference.trained_model import load
from vision_attn.training.config import config_folder

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def code_with(words: str) -> str:
    """The one piece of Python that contains these words."""
    (code,) = [code for code in CODE if words in code]
    return code


def test_a_pooling_in_one_file(
    image_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The README's pooling, from the command line to an overlay, with no other file edited."""
    code = code_with("class Brightest")
    (tmp_path / "brightest.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    run, path = tmp_path / "run", "brightest.Brightest"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
    words += ["--epochs", "1", "--pooling", path]
    assert main([*words, "--model.pooling.temperature", "2"]) == 0
    assert '"temperature": 2.0' in (run / "model.json").read_text()
    look = ["explain", str(run), str(image_root / "test" / "red"), "--explainers", "evidence"]
    assert main(look) == 2
    assert f"--trust {path}" in capsys.readouterr().err
    assert main([*look, "--trust", path]) == 0


def test_a_file_in_the_folder_is_enough(image_root: Path, tmp_path: Path) -> None:
    """The README's pooling dropped into a copy of the package, and trained by its name."""
    code = code_with("class Brightest")
    package = ROOT / "vision_attn"
    shutil.copytree(package, tmp_path / "vision_attn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(config_folder(), tmp_path / "vision_attn" / "configs", dirs_exist_ok=True)
    (tmp_path / "vision_attn" / "pooling" / "brightest.py").write_text(code)
    words = ["fit", "--data", str(image_root), "--run_dir", "run", *TINY_RUN]
    words += ["--epochs", "1", "--pooling", "brightest"]
    done = subprocess.run(
        [sys.executable, "-m", "vision_attn", *words],
        cwd=tmp_path,
        env={"PATH": "", "OMP_NUM_THREADS": "1"},  # without PYTHONPATH: the copy is imported
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "with brightest pooling" in done.stdout
    spec = json.loads((tmp_path / "run" / "model.json").read_text())
    assert spec["pooling"]["class_path"] == "brightest"


def test_an_exported_file_needs_only_onnxruntime(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    (code,) = re.findall(r"```py\n(.*?)```", README, flags=re.S)
    words = ["export", str(trained[0]), "--fixed_size", "--out", str(tmp_path / "model.onnx")]
    assert main(words) == 0
    shutil.copy(trained[1] / "test" / "red" / "000.png", tmp_path / "holiday.jpg")
    without = "import sys; sys.modules.update(torch=None, vision_attn=None)\n"
    done = subprocess.run(
        [sys.executable, "-c", without + code],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("red 0.")


def awkward_files(folder: Path) -> list[Path]:
    """A picture in formats, modes and orientations that are easily misread."""
    picture = np.zeros((48, 80, 3), np.uint8)
    picture[:, :40] = (240, 30, 20)
    picture[:24] //= 2
    rgb, gray = Image.fromarray(picture), picture[:, :, 0].astype(np.float32)
    alpha = Image.fromarray(np.arange(80, dtype=np.uint8)[None].repeat(48, 0) * 3)
    rgba = Image.merge("RGBA", (*rgb.split(), alpha))
    turned = Image.Exif()
    turned[274] = 6
    images = {
        "alpha.png": (rgba, {}),
        "gray_alpha.png": (rgba.convert("LA"), {}),
        "palette.png": (rgb.quantize(4), {"transparency": 1}),
        "16.png": (Image.fromarray(gray.astype(np.uint16) * 257), {}),
        "12_in_16.tif": (Image.fromarray(gray.astype(np.uint16) * 16), {}),
        "float.tif": (Image.fromarray(gray / 255 - 0.5), {}),
        "turned.jpg": (rgb, {"exif": turned}),
        "turned.tif": (rgb, {"exif": turned}),
        "turned_gray.tif": (rgb.convert("L"), {"exif": turned}),
        "turned_16.tif": (Image.fromarray(gray.astype(np.uint16) * 257), {"exif": turned}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "large.jpg": (rgb.resize((1600, 960)), {}),
        "bits.png": (rgb.convert("1"), {}),
    }
    for name, (image, options) in images.items():
        image.save(folder / name, **options)
    return [folder / name for name in images]


@pytest.mark.parametrize("gray_range", [None, [0, 4095]])
def test_the_onnx_lines_read_images_as_predict_does(
    run: Path, tmp_path: Path, gray_range: list[float] | None
) -> None:
    spec = json.loads((run / "model.json").read_text()) | {"gray_range": gray_range}
    (run / "model.json").write_text(json.dumps(spec))
    assert main(["export", str(run), "--fixed_size", "--out", str(tmp_path / "model.onnx")]) == 0
    files = awkward_files(tmp_path)
    (code,) = re.findall(r"```py\n(.*?)```", README, flags=re.S)
    loop = "for path in {}: print(*model.run(['probabilities'], {{'images': read(path)}})[0][0])"
    shutil.copy(files[0], tmp_path / "holiday.jpg")
    done = subprocess.run(
        [sys.executable, "-c", code + loop.format(list(map(str, files)))],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    printed = done.stdout.splitlines()[-len(files) :]
    for file, line, prediction in zip(files, printed, load(run).predict(files), strict=True):
        assert prediction.error is None
        expected = list(prediction.probabilities.values())
        assert [float(text) for text in line.split()] == pytest.approx(expected, abs=1e-5), file


def test_the_python_example(
    trained: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As it stands, where there are photographs."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained[1], tmp_path / "photos")
    shutil.copy(tmp_path / "photos" / "test" / "red" / "000.png", "holiday.jpg")
    exec(code_with("vision_attn.fit"), {})
    printed = capsys.readouterr().out
    assert len(re.findall(r"^photos/\S+\.png (?:red|green) 0\.\d+ None$", printed, re.M)) == 32
    assert (tmp_path / "holiday.png").stat().st_size > 10_000
    assert (tmp_path / "runs" / "mine" / "results.csv").read_text().count("\n") == 3


def test_command_lines_name_what_there_is() -> None:
    commands = re.findall(r"(?:^|`)vision-attn (\w+)", README, flags=re.M)
    assert len(commands) > 4
    assert set(commands) <= {*COMMANDS, *ALIASES}
    configs = {path.stem for path in config_folder().glob("*.yaml")}
    named = set(re.findall(r"--config (\w+)(?!\.yaml|\w)", README)) - {"mine"}
    assert named <= configs


def test_the_tree_names_every_folder() -> None:
    tree = README.split("## Where things are")[1]
    package = ROOT / "vision_attn"
    folders = [path for path in package.rglob("*") if (path / "__init__.py").is_file()]
    assert len(folders) > 12
    for folder in folders:
        assert re.search(rf"^ +{folder.name}/ ", tree, flags=re.M), folder
