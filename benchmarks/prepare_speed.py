"""`prepare` against its floor: reading, decoding, resizing and hashing the same files.

    OMP_NUM_THREADS=1 python benchmarks/prepare_speed.py [--kinds png jpeg dicom] [--json FILE]

The floor does nothing else, with Pillow or pydicom, in as many processes: no table, no checks, no
store. Files of 1024 x 1024 pixels are made in a temporary folder. Also: two processes against
one, and the memory of 1,000 against 20,000 images.
"""

import argparse
import hashlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from PIL import Image

from measure import interleaved, ratio, report
from medrobust.data.prepare import prepare
from medrobust.datasets.dicom import Dicom
from medrobust.datasets.images import Images
from medrobust.datasets.phantom import Phantom
from medrobust.files import refuse_existing

SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", nargs="*", default=["png", "jpeg", "dicom"])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", nargs="*", type=int, default=[1000, 20_000])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make(root, kind, given.images, given.side)
            rows.append(speeds(root, kind, given.images, given.repeats))
    if rows:
        report(f"prepare, {given.images} files of {given.side} x {given.side}", rows, given.json)
    memory = [{"images": count, **peaks_of(count)} for count in given.memory]
    if memory:
        report("Peak MiB of prepare, 256 x 256, two workers", memory, None)


def speeds(root: Path, kind: str, count: int, repeats: int) -> dict[str, object]:
    """Images a second of prepare and floor with one and two processes, interleaved."""
    turn = iter(range(10**6))

    def ours(workers: int) -> None:
        out = root / f"store{next(turn)}"
        refuse_existing(out)
        prepare(source(root, kind), out, size=SIZE, workers=workers, duplicates="report")

    jobs: dict[str, Callable[[], object]] = {}
    for workers in (1, 2):
        jobs[f"prepare {workers}"] = partial(ours, workers)
        jobs[f"floor {workers}"] = partial(floor, root, workers)
    seconds = interleaved(jobs, repeats)
    return {
        "files": kind,
        **{f"{name}: images/s": count / median(values) for name, values in seconds.items()},
        "over floor, 1": ratio(seconds, "prepare 1", "floor 1"),
        "over floor, 2": ratio(seconds, "prepare 2", "floor 2"),
        "two against one": ratio(seconds, "prepare 1", "prepare 2"),
        "floor: two against one": ratio(seconds, "floor 1", "floor 2"),
    }


def source(root: Path, kind: str) -> "Images | Dicom":
    """The data set of the made files."""
    if kind == "dicom":
        return Dicom(root / "files", root / "table.csv", {"odd": "odd"})
    return Images(root / "table.csv", root / "files", image_column="file", labels={"odd": "odd"})


def floor(root: Path, workers: int) -> None:
    """Read, decode, resize and hash every file; processes are started anew, as ours are."""
    files = sorted((root / "files").iterdir())
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for _ in pool.imap(floor_of, files, chunksize=4):
            pass


def floor_of(file: Path) -> tuple[bytes, bytes]:
    """The resized pixels of a file and the hash of its own."""
    if file.suffix == ".dcm":
        import pydicom

        pixels = pydicom.dcmread(file).pixel_array
    else:
        with Image.open(file) as image:
            pixels = np.array(image)
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
    grey = Image.fromarray(pixels.astype(np.float32))
    small = np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return np.rint(small).astype(np.uint8).tobytes(), digest


def make(root: Path, kind: str, count: int, side: int) -> None:
    """Write generated radiographs, and their table."""
    (root / "files").mkdir()
    phantom = Phantom(20, 256)
    drawn = [phantom.read(row).pixels[0] for row in phantom.index().to_dict("records")]
    large = [np.asarray(Image.fromarray(d.astype(np.float32)).resize((side, side))) for d in drawn]
    rng, names = np.random.default_rng(0), []
    for number in range(count):
        # shades of its own, so that no two images are near duplicates
        coarse = Image.fromarray(rng.uniform(0, 4095, (8, 8)).astype(np.float32))
        shades = np.asarray(coarse.resize((side, side)))
        noisy = (large[number % 20] + shades) / 2 + rng.normal(0, 24, (side, side))
        noisy = np.clip(noisy, 0, 4095)
        names.append(write(root / "files", f"{number:05d}", kind, noisy.astype(np.uint16)))
    pd.DataFrame({"file": names, "odd": np.arange(count) % 2}).to_csv(
        root / "table.csv", index=False
    )


def write(folder: Path, name: str, kind: str, pixels: np.ndarray) -> str:
    """One file of the kind; its name."""
    if kind == "dicom":
        write_dicom(folder / f"{name}.dcm", pixels)
        return f"{name}.dcm"
    Image.fromarray((pixels >> 4).astype(np.uint8)).save(folder / f"{name}.{kind}")
    return f"{name}.{kind}"


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    """An uncompressed CR image of 12 bits."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.PixelRepresentation, found.PixelData = 0, pixels.tobytes()
    found.save_as(path, enforce_file_format=True)


MEMORY = """
import resource, sys, threading, time
from pathlib import Path
from medrobust.data.prepare import prepare
from medrobust.datasets.images import Images

peak = 0

def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
        time.sleep(0.02)

if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    root = Path(sys.argv[1])
    source = Images(root / "table.csv", root / "files", image_column="file", labels={"odd": "odd"})
    prepare(source, root / "store", size=256, workers=2, duplicates="report")
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    rss = [resource.getrusage(which).ru_maxrss for which in who]
    print(*(value / 1024 for value in (peak, *rss)))
"""


def peaks_of(count: int) -> dict[str, float]:
    """Peak MiB of the process that prepares so many small files, and of its larger worker.

    What the process itself holds, then that with the pages of the store's file that the system
    lends it while nobody else needs the memory. Linux only.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, "jpeg", count, SIZE)
        script = root / "memory.py"
        script.write_text(MEMORY)
        command = [sys.executable, str(script), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        names = ("own", "with mapped file", "worker")
        return dict(zip(names, map(float, done.stdout.split()), strict=True))


if __name__ == "__main__":
    main()
