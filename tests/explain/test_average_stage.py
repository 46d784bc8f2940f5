from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medrobust.explain.average_stage import write_averages
from medrobust.explain.methods import Method
from medrobust.explain.subject import Subject, open_subject
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]


@pytest.fixture
def subject(standard_run: RunDir, copy_of: Copy) -> Subject:
    return open_subject(copy_of(standard_run), batch_size=5, device="cpu")


def itself(network: nn.Module, images: Tensor, finding: int) -> Tensor:
    """A map that is the image."""
    return images[:, 0]


def test_means_of_maps_and_images_of_each_class(subject: Subject) -> None:
    finding = subject.store.findings[0]
    counted: list[int] = []
    write_averages(
        subject,
        {"itself": Method("itself", itself)},
        [finding],
        track=lambda total, title: counted.append,
    )
    folder = subject.folder / "averages" / subject.name / "test" / "single" / "itself"
    rows = subject.store.rows("test")
    labels = subject.store.labels[rows, 0]
    with np.load(folder / f"{finding}.npz") as saved:
        for which, label in (("with", 1), ("without", 0)):
            images = subject.images(rows[labels == label]).double()
            scaled = images[:, 0] / images.amax((1, 2, 3))[:, None, None]
            assert saved[f"n_{which}"] == len(images) > 1
            np.testing.assert_allclose(saved[which], scaled.mean(0), atol=1e-6)
            np.testing.assert_allclose(saved[f"image_{which}"], images.mean(0), atol=1e-6)
    assert sum(counted) == len(rows)


def test_maps_of_zeros_are_no_maps(subject: Subject) -> None:
    finding = subject.store.findings[0]
    nothing = Method("nothing", lambda n, x, f: torch.zeros_like(x[:, 0]))
    write_averages(subject, {"nothing": nothing}, [finding])
    folder = subject.folder / "averages" / subject.name / "test" / "single" / "nothing"
    with np.load(folder / f"{finding}.npz") as saved:
        assert saved["n_with"] == saved["n_without"] == 0
        assert not saved["with"].any()
        assert saved["image_with"].any()
