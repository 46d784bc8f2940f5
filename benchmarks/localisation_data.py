"""Two data sets on which maps can be scored, as classes for `medrobust prepare custom`.

    python -m medrobust prepare custom localisation_data:CovidLesions --root DIR --size 64 ...

Both need files that are not part of medrobust; their classes say which.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from medrobust.data.source import Card, Mask, Picture

GROUND_GLASS, CONSOLIDATION, LEFT_LUNG, RIGHT_LUNG = 1, 2, 16, 32


class CovidLesions:
    """100 radiographs of adults with pneumonia, and radiologists' masks of lesions and lungs.

    `root` has `images.csv`, `images/*.png` and `masks/*.png` of the same size, whose bits are 1
    ground glass, 2 consolidation, 16 left lung and 32 right lung. What is to be found is ground
    glass and consolidation together.
    """

    card = Card(
        name="covid",
        title="COVID-19 radiographs with masks of lesions",
        source="github GeneralBlockchain/covid-19-chest-xray-segmentations-dataset",
        licence="masks CC BY 4.0; images per image, for research",
        citation="Cohen et al., COVID-19 image data collection (2020), arXiv 2003.11597",
        caveats="Adults, from publications and web pages; almost no negatives: for scoring maps.",
    )
    task = "multilabel"

    def __init__(self, root: Path) -> None:
        self.root = root

    def index(self) -> pd.DataFrame:
        """One row per radiograph."""
        table = pd.read_csv(self.root / "images.csv", dtype={"patientid": str})
        lesions = table["px_ggo"] + table["px_consolidation"]
        return pd.DataFrame(
            {
                "image_id": table["image"].str.removesuffix(".png"),
                "patient_id": table["patientid"],
                "source": self.card.name,
                "file": "images/" + table["image"],
                "label:pneumonia": (lesions > 0).astype(float),
            }
        )

    def read(self, row: Mapping[str, Any]) -> Picture:
        """A radiograph with its masks."""
        path = self.root / str(row["file"])
        bits = np.asarray(Image.open(self.root / "masks" / path.name))
        named = {
            ("pneumonia", "finding"): GROUND_GLASS | CONSOLIDATION,
            ("left_lung", "anatomy"): LEFT_LUNG,
            ("right_lung", "anatomy"): RIGHT_LUNG,
        }
        masks = tuple(
            Mask(name, kind, (bits & wanted) > 0)  # type: ignore[arg-type]
            for (name, kind), wanted in named.items()
            if (bits & wanted).any()
        )
        pixels = np.asarray(Image.open(path).convert("L"))
        return Picture(pixels[None], low=0, high=255, masks=masks)


@lru_cache(1)
def _images(path: Path) -> NDArray[np.uint8]:
    """All patches; once in every process that reads them."""
    with np.load(path) as arrays:
        return np.asarray(arrays["images"])


class OffCentrePatches:
    """LUNA16 candidates, cut so that the candidate may be anywhere.

    `root` is a .npz of patches (N, 50, 50) with the candidate in the middle, uint8 of -1000 to 400
    HU, `labels` (1 nodule) and `split` (0 train, 1 val, 2 test). What is left is 36 pixels wide,
    so that a centre prior knows nothing. How large a nodule is is not known: its truth is a disc
    of 5 pixels (3 to 4 mm) about the candidate's centre.
    """

    SIDE, KEPT, MARGIN, RADIUS = 50, 36, 5, 5
    card = Card(
        name="patches",
        title="LUNA16 candidate patches, off-centre",
        source="github swethasubramanian/LungCancerDetection (LUNA16)",
        licence="CC BY 4.0",
        citation="Setio et al., Med Image Anal 42:1-13 (2017)",
        caveats="Scans cannot be told apart, so that patients may lie in several splits.",
    )
    task = "multilabel"

    def __init__(self, root: Path) -> None:
        self.root = root

    def index(self) -> pd.DataFrame:
        """One row per patch."""
        with np.load(self.root) as arrays:
            labels, split, number = arrays["labels"], arrays["split"], arrays["candidate_index"]
        return pd.DataFrame(
            {
                "image_id": [f"{place:05d}" for place in range(len(labels))],
                "source": self.card.name,
                "file": number.astype(str),
                "split": np.array(["train", "val", "test"])[split],
                "label:nodule": labels.astype(float),
            }
        )

    def read(self, row: Mapping[str, Any]) -> Picture:
        """A patch, cut by chance but always alike."""
        place = int(row["image_id"])
        draw = np.random.default_rng(place)
        middle, free = self.SIDE // 2, self.SIDE - self.KEPT
        lowest = max(0, middle - (self.KEPT - 1 - self.MARGIN))
        top, left = draw.integers(lowest, min(free, middle - self.MARGIN) + 1, 2)
        patch = _images(self.root)[place, top : top + self.KEPT, left : left + self.KEPT]
        rows, columns = np.mgrid[: self.KEPT, : self.KEPT]
        distance = np.hypot(rows - (middle - top), columns - (middle - left))
        mask = Mask("nodule", "finding", distance <= self.RADIUS)
        return Picture(patch[None], low=0, high=255, masks=(mask,) if row["label:nodule"] else ())
