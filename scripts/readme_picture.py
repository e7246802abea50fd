"""Draw the picture at the top of the README: a sheet of `explain` for a photograph of a cat.

pip install scikit-image
python scripts/readme_picture.py RUN docs/cat.jpg

RUN is a model of cat breeds, such as `vision-attn fit` makes of photographs of the Oxford-IIIT Pet
Dataset. None of those is shown: the photograph is Chelsea, by Stefan van der Walt, in the package
data of scikit-image, which its author gave to the public domain (CC0).
"""

import argparse
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from skimage.data import chelsea

from vision_attn.core.atomic import atomic_write
from vision_attn.inference.explanation import Explanation
from vision_attn.inference.trained_model import load

WIDTH, HEIGHT = 900, 600  # pixels at most
QUALITY = 88  # of JPEG


def draw(explanation: Explanation) -> Image.Image:
    """The sheet, drawn twice as large as it may be and then reduced."""
    figure, file = explanation.figure(), io.BytesIO()
    wide, high = figure.get_size_inches()
    figure.savefig(file, format="png", dpi=2 * min(WIDTH / wide, HEIGHT / high))
    picture = Image.open(file).convert("RGB")
    picture.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return picture


def main() -> None:
    """Explain the photograph and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a run folder: a model of cat breeds")
    parser.add_argument("out", type=Path, help="the picture, a .jpg")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        photo = Path(folder) / "chelsea.png"
        Image.fromarray(chelsea()).save(photo)
        (explanation,) = load(options.run).explain(photo)
        picture = draw(explanation)
    atomic_write(options.out, lambda path: picture.save(path, "JPEG", quality=QUALITY))
    print(f"{options.out}: {picture.width}x{picture.height}, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
