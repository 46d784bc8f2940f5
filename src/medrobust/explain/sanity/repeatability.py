"""Do two trainings explain the same image alike? After Arun et al. 2021.

"Assessing the trustworthiness of saliency maps for localizing abnormalities in medical imaging",
Radiology: Artificial Intelligence 3:e200267: repeatability (same architecture, other seed) and
reproducibility (other architecture). An agreement means little by itself: all maps of a kind
look alike to some degree. So it is held against the agreement of maps of different images, and
against that with an untrained network, which knows the image and nothing else.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from medrobust.explain.sanity.similarity import Floats, rank_similarity


def across_images(maps: Tensor, patients: Sequence[str]) -> Floats:
    """Similarity (N,) of each image's map with that of the next image of another patient.

    NaN where there is no other patient. Maps (N, ...) are one network's.
    """
    partners = [_next_patient(patients, place) for place in range(len(patients))]
    found = rank_similarity(maps, maps[partners])
    alone = [patients[i] == patients[j] for i, j in enumerate(partners)]
    found[alone] = np.nan
    return found


def _next_patient(patients: Sequence[str], place: int) -> int:
    for step in range(1, len(patients)):
        other = (place + step) % len(patients)
        if patients[other] != patients[place]:
            return other
    return place
