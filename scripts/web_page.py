"""Agreement and speed of a run's web page: headless Chromium against `predict`, on photos.

python scripts/web_page.py RUN PHOTOS

Makes the page, opens it in Chromium, chooses one photo after the other, and prints the largest
differences of probabilities and of sums of evidence, the size of the folder, and times: from
opening the page to the model being ready, and from choosing a photo to its answer.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.chromium import chromium
from vision_attn.data.io.paths import image_files
from vision_attn.export.delivery import Export, size_of
from vision_attn.export.demo import Address, server
from vision_attn.inference.trained_model import load
from vision_attn.training.restore import comparison_images

PROBABILITIES = """[...document.querySelectorAll('#classes button')]
    .sort((a, b) => a.dataset.index - b.dataset.index)
    .map((each) => Number(each.dataset.probability))"""


def measure(page: Path, run: str, photos: list[Path]) -> None:
    """Compare the page with the run on photos, and print the figures."""
    probabilities, sums, times = [], [], []
    explained = load(run).explain(photos, explainers=["evidence"])
    with server(page, Address()) as listening, chromium() as browser:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        began = time.perf_counter()
        browser.page("Page.navigate", url=f"http://127.0.0.1:{listening.server_port}/")
        browser.wait("document.body?.dataset.ready")
        ready = time.perf_counter() - began
        for index, (photo, ours) in enumerate(zip(photos, explained, strict=True)):
            began = time.perf_counter()
            browser.choose_files("#files", [photo])
            browser.wait(f"document.body.dataset.shown === '{index}'")
            times.append(time.perf_counter() - began)
            if index == 0 and len(ours.prediction.probabilities) > 5:
                browser.run("document.getElementById('more').click()")
            theirs = browser.run(PROBABILITIES)
            pairs = zip(theirs, ours.prediction.probabilities.values(), strict=True)
            probabilities.append(max(abs(a - b) for a, b in pairs))
            total = float(browser.run("document.getElementById('sum').dataset.evidence"))
            expected = float(ours.heatmaps["evidence"].values.double().sum())
            sums.append(abs(total - expected))
        listening.shutdown()
    print(f"photos {len(photos)}, folder {size_of(page) / 1e6:.1f} MB")
    print(f"probabilities differ by at most {max(probabilities):.1e}, sums by {max(sums):.1e}")
    further = times[1:] or times
    print(
        f"seconds: model ready {ready:.2f}, first answer {times[0]:.2f}, "
        f"further ones {statistics.median(further):.2f} (median), {max(further):.2f} (most)"
    )


def main() -> None:
    """Read the command line, make the page, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    photos = sorted(image_files(options.photos))
    random.Random(0).shuffle(photos)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "web"
        export = Export.prepare(options.run, "web", page, {}, 1e-4, [])
        export.write(comparison_images(options.run, [str(options.photos)], []))
        measure(page, options.run, photos[: options.count])


if __name__ == "__main__":
    main()
