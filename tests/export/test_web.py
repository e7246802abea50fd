"""The web page gives the answers of `predict`, in headless Chromium, and asks no other host."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.chromium import FOUND, Chromium, chromium
from tests.test_readme import awkward_files
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.io.gray_range import GrayRange
from vision_attn.data.io.image import read_image
from vision_attn.export import web_runtime
from vision_attn.export.demo import Address, server
from vision_attn.export.web import PILLOW, TALL_FIRST
from vision_attn.inference.trained_model import load

Captured = pytest.CaptureFixture[str]
TALL = PILLOW >= TALL_FIRST
SHOWN = "document.body.dataset.shown === '{}'"
SUM = "({...document.getElementById('sum').dataset})"
PROBABILITIES = """Object.fromEntries([...document.querySelectorAll('#classes button')].map(
    (each) => [each.dataset.name, Number(each.dataset.probability)]))"""


@pytest.fixture(scope="module")
def page(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the web page of a run."""
    try:
        web_runtime.runtime_files()
    except UserError as error:
        pytest.skip(str(error).splitlines()[0])
    out = tmp_path_factory.mktemp("page") / "web"
    assert main(["export", str(trained[0]), "--format", "web", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def address(page: Path) -> Iterator[str]:
    """The address at which the page is served."""
    with server(page, Address()) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/"
        listening.shutdown()


@pytest.fixture
def browser(address: str) -> Iterator[Chromium]:
    """A browser with the page, whose model is loaded."""
    if FOUND is None:
        pytest.skip("there is no Chromium or Chrome")
    with chromium() as found:
        found.screen(1200, 2000)  # all of the page can be clicked
        found.page("Page.navigate", url=address)
        found.wait("document.body?.dataset.ready")
        yield found
        assert found.errors == []
        others = [url for url in found.requests if not url.startswith((address, f"blob:{address}"))]
        assert others == []
        assert f"{address}model.onnx" in found.requests  # requests of workers are seen


def test_it_answers_as_predict_does(
    browser: Chromium, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    photos = sorted((trained[1] / "test").rglob("*.png"))
    tall = tmp_path / "tall.png"
    Image.open(photos[0]).resize((40, 70)).save(tall)
    model = load(trained[0])
    for index, photo in enumerate([*photos, tall]):
        browser.choose_files("#files", [photo])
        browser.wait(SHOWN.format(index))
        (explanation,) = model.explain(photo, explainers=["evidence"])
        expected = explanation.prediction
        assert browser.run(PROBABILITIES) == pytest.approx(expected.probabilities, abs=1e-4)
        total = browser.run(SUM)
        assert total["name"] == expected.class_name
        evidence = float(explanation.heatmaps["evidence"].values.sum())
        assert float(total["evidence"]) == pytest.approx(evidence, abs=1e-4)
        assert float(total["constant"]) == pytest.approx(explanation.bias, abs=1e-5)
        assert float(total["total"]) == pytest.approx(explanation.logit, abs=1e-4)
        name = browser.run("document.getElementById('verdict').textContent")
        assert name.startswith(expected.class_name)


def send(browser: Chromium, how: str, file: Path) -> None:
    """Drop or paste a file, as an event of the page."""
    content = base64.b64encode(file.read_bytes()).decode()
    browser.run(f"""(() => {{
        const bytes = Uint8Array.from(atob('{content}'), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], '{file.name}', {{ type: 'image/png' }}));
        const event = '{how}' === 'drop'
            ? new DragEvent('drop', {{ dataTransfer: data, bubbles: true }})
            : new ClipboardEvent('paste', {{ clipboardData: data, bubbles: true }});
        document.body.dispatchEvent(event);
    }})()""")


def test_drop_paste_and_several(browser: Chromium, trained: tuple[Path, Path]) -> None:
    red, green = (trained[1] / "test" / name / "000.png" for name in ("red", "green"))
    verdict = "document.getElementById('verdict').textContent"
    for index, (how, photo) in enumerate((("drop", red), ("paste", green))):
        send(browser, how, photo)
        browser.wait(SHOWN.format(index))
        assert browser.run(verdict).startswith(photo.parent.name)
    browser.run("document.querySelector('#photos button').click()")
    browser.wait(SHOWN.format(0))
    assert browser.run(verdict).startswith("red")


def test_a_damaged_file_and_another_kind_are_named(browser: Chromium, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(90))
    browser.choose_files("#files", [tmp_path / "bad.png"])
    status = "document.getElementById('status').textContent"
    browser.wait(f"{status}.startsWith('bad.png was not read: your browser cannot read it.')")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.tif")
    browser.choose_files("#files", [tmp_path / "a.tif"])
    browser.wait(f"{status}.startsWith('a.tif was not read: TIFF')")


def test_more_bits_than_the_model_knows_are_said(browser: Chromium, tmp_path: Path) -> None:
    hidden = "document.getElementById('doubtful').hidden"
    Image.new("L", (40, 40), 9).save(tmp_path / "8.png")
    Image.fromarray(np.full((40, 40), 4095, np.uint16)).save(tmp_path / "16.png")
    for index, name in enumerate(("8.png", "16.png")):
        browser.choose_files("#files", [tmp_path / name])
        browser.wait(SHOWN.format(index))
        assert browser.run(hidden) == (name == "8.png")


def test_another_class_another_map_and_one_place(
    browser: Chromium, trained: tuple[Path, Path]
) -> None:
    photo = trained[1] / "test" / "red" / "000.png"
    browser.choose_files("#files", [photo])
    browser.wait(SHOWN.format(0))
    (explanation,) = load(trained[0]).explain(photo, explainers=["evidence"], target="green")
    browser.run("document.querySelector('#classes [data-name=green]').click()")
    values = explanation.heatmaps["evidence"].values
    assert browser.run(SUM)["name"] == "green"
    assert float(browser.run(SUM)["evidence"]) == pytest.approx(float(values.sum()), abs=1e-4)

    height, width = values.shape
    box = browser.run("(({left, top, width, height}) => [left, top, width, height])"
                      "(document.getElementById('stage').getBoundingClientRect())")  # fmt: skip
    row, column = height - 1, 1
    browser.click(box[0] + box[2] * (column + 0.5) / width, box[1] + box[3] * (row + 0.5) / height)
    chosen = "({...document.querySelector('#place-table table').dataset})"
    assert browser.run(chosen)["place"] == str(row * width + column)
    assert float(browser.run(chosen)["value"]) == pytest.approx(float(values[row, column]), 1e-3)
    browser.run("document.getElementById('stage').focus()")
    browser.key("ArrowUp")
    assert browser.run(chosen)["place"] == str((row - 1) * width + column)
    browser.key("Escape")
    assert browser.run("document.querySelector('#place-table table')") is None

    for kind in ("contrast", "attention", "photo"):
        browser.run(f"document.querySelector('[value={kind}]').click()")
        hidden = browser.run("document.getElementById('map').hidden")
        assert hidden == (kind == "photo")


READ = """(async () => {{
    const {{ readImage }} = await import('./reading.js');
    const bytes = Uint8Array.from(atob('{content}'), (c) => c.charCodeAt(0));
    const about = {{ image_size: {size}, gray_range: {gray}, tall_first: {tall} }};
    const read = await readImage(new Blob([bytes]), about);
    return btoa(String.fromCharCode(...read.planes));
}})()"""


def read_in(browser: Chromium, file: Path, size: int, gray: str = "null") -> np.ndarray:
    """The pixels that the page reads from a file, (3, size, size)."""
    content = base64.b64encode(file.read_bytes()).decode()
    tall = json.dumps(TALL)
    read = browser.run(READ.format(content=content, size=size, gray=gray, tall=tall))
    return np.frombuffer(base64.b64decode(read), np.uint8).reshape(3, size, size)


def test_pixels_are_those_that_python_reads(browser: Chromium, tmp_path: Path) -> None:
    """Orientations, transparency, palettes, CMYK, 12 in 16 bits, and JPEGs decoded smaller."""
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (12, 20, 3)).astype(np.uint8))
    photo = small.resize((160, 96), Image.Resampling.BICUBIC)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[274] = turn
        photo.save(tmp_path / f"turned{turn}.jpg", exif=exif, subsampling=0, quality=95)
        photo.save(tmp_path / f"turned{turn}.png", exif=exif)
    for width, height in ((33, 90), (90, 33), (32, 47), (7, 5), (300, 301)):
        noise = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{width}x{height}.png")
    photo.save(tmp_path / "photo.webp", lossless=True)
    photo.save(tmp_path / "photo.bmp")
    photo.quantize(9).save(tmp_path / "photo.gif")
    photo.resize((1003, 605)).save(tmp_path / "large.jpg", subsampling=0, quality=95)
    photo.resize((1024, 640)).save(tmp_path / "large420.jpg", quality=95)
    awkward_files(tmp_path)
    deep = (random.random((48, 80)) * 4095).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for file in sorted(tmp_path.iterdir()):
        if file.suffix == ".tif":
            continue
        found = read_in(browser, file, 32).astype(int)
        differ = np.abs(found - read_image(file, 32).numpy())
        exact = file.suffix in (".png", ".webp", ".bmp", ".gif") and "alpha" not in file.name
        assert differ.max() <= (0 if exact else 3), file
        assert differ.mean() <= 0.5, file
    found = read_in(browser, tmp_path / "deep.png", 32, "[100, 4000]")
    expected = read_image(tmp_path / "deep.png", 32, GrayRange(100, 4000)).numpy()
    assert np.array_equal(found, expected)


def test_the_folder_is_complete_and_names_no_other_host(page: Path) -> None:
    about = json.loads((page / "about.json").read_text())
    assert about["class_names"] == ["green", "red"]
    assert len(about["bias"]) == 2
    assert "MIT License" in (page / "onnxruntime" / "LICENSE.txt").read_text()
    html = (page / "index.html").read_text()
    assert "default-src 'none'" in html
    assert "unsafe-inline" not in html
    assert "<style" not in html
    assert " style=" not in html
    assert "onclick=" not in html
    for file in [*page.glob("*.js"), *page.glob("*.css"), page / "index.html"]:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text, file
        assert "innerHTML" not in text, file
    used = {name for name in ("page.css", "page.js", "icon.svg") if name in html}
    assert used == {"page.css", "page.js", "icon.svg"}


class TestRuntime:
    def test_a_folder_without_it_is_refused(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: Captured
    ) -> None:
        words = ["export", str(trained[0]), "--format", "web", "--out", str(tmp_path / "web")]
        assert main([*words, "--runtime", str(tmp_path)]) == 2
        assert f"--runtime: {tmp_path} has no ort.wasm" in capsys.readouterr().err
        for name in web_runtime.FILES:
            (tmp_path / name).write_text("another version")
        assert main([*words, "--runtime", str(tmp_path)]) == 2
        assert f"is not of onnxruntime-web {web_runtime.VERSION}" in capsys.readouterr().err
        assert not (tmp_path / "web").exists()

    def test_it_belongs_to_the_web_only(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: Captured
    ) -> None:
        assert main(["export", str(trained[0]), "--runtime", str(tmp_path)]) == 2
        assert "--runtime cannot be used with --format onnx" in capsys.readouterr().err

    def test_another_download_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        answer = io.BytesIO(b"something else")
        monkeypatch.setattr(web_runtime.urllib.request, "urlopen", lambda *_, **__: answer)
        with pytest.raises(UserError, match="not the file that is expected"):
            web_runtime.runtime_files()
        assert list(tmp_path.rglob("*")) == []

    def test_no_network_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

        def fail(*_: object, **__: object) -> None:
            raise web_runtime.urllib.error.URLError("no route")

        monkeypatch.setattr(web_runtime.urllib.request, "urlopen", fail)
        with pytest.raises(UserError, match="--runtime package/dist"):
            web_runtime.runtime_files()
