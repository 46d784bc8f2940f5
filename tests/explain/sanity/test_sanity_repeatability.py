import numpy as np
import torch
from torch import Tensor

from medrobust.explain.sanity.repeatability import across_images
from medrobust.explain.sanity.similarity import rank_similarity


def maps(seed: int) -> Tensor:
    return torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(seed))


def test_other_images_are_other_patients() -> None:
    one = maps(0)
    found = across_images(one, ["a", "a", "b", "c"])
    expected = rank_similarity(one, one[[2, 2, 3, 0]])
    np.testing.assert_allclose(found, expected)


def test_one_patient_has_no_other() -> None:
    assert np.isnan(across_images(maps(0), ["a", "a", "a", "a"])).all()
