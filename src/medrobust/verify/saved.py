"""PNG files of attacked images: what is left of them, and does it give the predictions?"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medrobust.errors import MedrobustError
from medrobust.findings import Finding, UncheckedError, judged
from medrobust.quantised import read_images
from medrobust.verify.evidence import Evidence
from medrobust.verify.images import ROUNDING, read_attacked
from medrobust.verify.showing import Scores, Showing, logits_again


def check_saved(evidence: Evidence, stem: str, tolerance: float, batch: int) -> list[Finding]:
    """`adversarial/<stem>/<depth>/<slot>/`, where these predictions are of images read back."""
    if "/" not in str(evidence.told(stem).sidecar["attack"].get("name")):
        return []
    return judged("saved images", stem, partial(_read_back, evidence, stem, tolerance, batch))


def _read_back(evidence: Evidence, stem: str, tolerance: float, batch: int) -> Iterator[str]:
    """Slot by slot: each within half a level of the attacked image, then shown again."""
    source, depth = _source(evidence, stem)
    saved, _ = read_attacked(evidence, source)
    if saved.image_id != evidence.told(stem).frame["image_id"].tolist():
        raise MedrobustError(f"adversarial/{source}.npz holds other images than were predicted")
    showing, network = Showing.of(evidence, stem, saved.image_id), evidence.network(stem)
    for slot in range(len(showing.slots)):
        folder = evidence.run.adversarial / source / depth / str(slot)
        images = _same_images(folder, saved.image_id)
        attacked = torch.from_numpy(saved.images[:, slot])
        away = (images - attacked).abs().flatten(1).amax(1).double().numpy()
        yield from _rounded(showing, slot, away, depth)
        logits = logits_again(network, images, batch, evidence.device)
        yield from showing.differences(slot, logits, tolerance)


def _rounded(showing: Showing, slot: int, away: Scores, depth: str) -> Iterator[str]:
    """Where saved images are more than a rounding away (n,) from the attacked ones."""
    half = _half_level(showing, depth)
    off = ~(away <= half + ROUNDING)
    if off.any():
        first = int(off.argmax())
        yield (
            f"slot {slot}: image {showing.image_id[first]!r} is {away[first]:.6g} away from the "
            f"attacked one, half a level is {half[first]:.6g} ({int(off.sum())} of {len(off)} "
            "images are off)"
        )


def _half_level(showing: Showing, depth: str) -> Scores:
    """(n,) in the image's range [0, 1]."""
    if depth != "stored":
        return np.full(len(showing.rows), 0.5 / (2 ** int(depth) - 1))
    table = showing.store.table.iloc[showing.rows]
    half: Scores = 0.5 / (table["native_high"] - table["native_low"]).abs().to_numpy(float)
    return half


def _same_images(folder: Path, ids: list[str]) -> Tensor:
    found, images = read_images(folder)
    if found != ids:
        raise MedrobustError(f"{folder} holds other images than were predicted")
    return images


def _source(evidence: Evidence, stem: str) -> tuple[str, str]:
    """The attack that the images were rounded from, and their depth."""
    sidecar = evidence.told(stem).sidecar
    name, _, depth = sidecar["attack"]["name"].partition("/")
    wanted = {**sidecar, "attack": {**sidecar["attack"], "name": name}}
    for other, told in evidence.predictions.items():
        if told.sidecar == wanted:
            return other, str(depth).removesuffix("bit")
    raise UncheckedError("the predictions of the images before they were saved are not at hand")
