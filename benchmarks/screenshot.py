"""Take a part of a report as a picture for the docs, with the system's Chromium.

    python benchmarks/screenshot.py demo/report.html docs/pictures/report.png \
        --box 228 13988 1262 14464

The box (left, top, right, bottom) is in pixels of the page at a width of 1,280.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--box", type=int, nargs=4, required=True)
    parser.add_argument("--chromium", default="chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "page.png"
        subprocess.run(
            [
                *(given.chromium, *QUIET, f"--user-data-dir={folder}/profile"),
                *(f"--window-size=1280,{given.box[3] + 100}", f"--screenshot={whole}"),
                given.page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        with Image.open(whole) as image:
            image.convert("RGB").crop(given.box).quantize(128).save(given.picture, optimize=True)


if __name__ == "__main__":
    main()
