"""The speed-record recipe as a bare loop: it learns, and translates images correctly."""

from pathlib import Path

import torch

from tests.conftest import write_images
from tests.scripts.test_scripts import call


def test_it_learns(tmp_path: Path) -> None:
    for split, count in (("train", 60), ("test", 10)):
        for color, name in enumerate(("red", "green", "blue")):
            write_images(tmp_path / split / name, count, color, size=(32, 32))
    output = call(
        "bare_airbench.py", "--data", str(tmp_path), "--epochs", "4", "--batch_size", "30"
    )
    assert "epoch 3 ended, loss" in output
    assert float(output.split()[-1]) > 0.8


def test_translated_images_are_crops_of_the_reflection_padded_image(monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    import bare_airbench

    image = torch.arange(3 * 7 * 7, dtype=torch.uint8).view(1, 3, 7, 7)
    padded = torch.nn.functional.pad(image.float(), (2, 2, 2, 2), "reflect").byte()[0]
    crops = [padded[:, y : y + 7, x : x + 7] for y in range(5) for x in range(5)]
    found = set()
    for translated in bare_airbench.translated(image.repeat(400, 1, 1, 1)):
        (index,) = [k for k, crop in enumerate(crops) if torch.equal(crop, translated)]
        found.add(index)
    assert len(found) == 25
