"""A network that looks only at the marker is exposed, one that does not is not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.phantom import Phantom
from medrobust.errors import MedrobustError
from medrobust.explain.audit import COLUMNS, audit
from medrobust.explain.methods import METHODS
from medrobust.explain.subject import Subject, open_subject
from medrobust.rundir import RunDir


class Corner(nn.Module):
    """Says a finding is there where a region is bright."""

    def __init__(self, region: Tensor) -> None:
        super().__init__()
        self.register_buffer("region", region)

    def forward(self, images: Tensor) -> Tensor:
        score = (images[:, 0] * self.region).sum((1, 2)) / self.region.sum()
        return 20 * score[:, None]


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("marked") / "store"
    source = Phantom(images=120, size=32, findings=("consolidation",), shortcut="consolidation")
    return prepare(source, out, size=None)


@pytest.fixture
def subject(marked: Store, standard_run: RunDir, tiny_store: Store, tmp_path) -> Subject:
    """Everything of a run but its network and images; its table goes to the test's folder."""
    opened = open_subject(standard_run, tiny_store)
    run = RunDir(tmp_path / "run")
    # in train the marker goes with the finding, so there a network that reads it is good
    return replace(opened, run=run, store=marked, name="marked", split="train", missing=())


def region(store: Store, name: str, kind: str) -> Tensor:
    masks = store.truth(name, kind)  # type: ignore[arg-type]
    return torch.from_numpy(np.mean(list(masks.values()), axis=0)).float()


def test_a_network_that_reads_the_marker(subject: Subject, marked: Store) -> None:
    network = Corner(region(marked, "marker", "marker"))
    looking = replace(subject, networks={"single": network})
    methods = {"gradient": METHODS["gradient"]}
    (sentence,) = audit(looking, "marker", ["consolidation"], methods)
    table = pd.read_csv(subject.folder / "audit.csv")
    assert list(table) == COLUMNS
    value = table.set_index("measure")["value"]
    assert value["share:gradient"] > 5 * value["area"]
    assert value["auroc as it is"] > 0.85
    assert value["auroc swapped"] < 0.2
    gap = table.set_index("measure").loc["difference swapped"]
    assert gap["high"] < 0
    assert gap["value"] == pytest.approx(value["auroc swapped"] - value["auroc as it is"])
    assert sentence == (
        f"{subject.run.path}, branch single: consolidation depends on marker: AUROC "
        f"{value['auroc as it is']:.3f}, {value['auroc removed']:.3f} without it, "
        f"{value['auroc swapped']:.3f} where it is exchanged; "
        f"{100 * value['share:gradient']:.1f} % of the gradient map and "
        f"{100 * value['area']:.1f} % of the picture lie on it"
    )


def test_a_network_that_reads_the_lungs_stays_as_it_is(subject: Subject, marked: Store) -> None:
    lungs = region(marked, "left_lung", "anatomy") * (region(marked, "marker", "marker") == 0)
    looking = replace(subject, networks={"single": Corner(lungs)})
    (sentence,) = audit(looking, "marker", ["consolidation"], {"gradient": METHODS["gradient"]})
    assert ": consolidation cannot be shown to depend on marker: AUROC " in sentence
    table = pd.read_csv(subject.folder / "audit.csv").set_index("measure")
    assert table["value"]["share:gradient"] < table["value"]["area"]
    for edit in ("removed", "moved", "swapped"):
        assert abs(table["value"][f"difference {edit}"]) < 0.05


def test_another_marker_adds_rows_and_the_same_replaces_them(
    subject: Subject, marked: Store
) -> None:
    looking = replace(subject, networks={"single": Corner(torch.ones(32, 32))})
    for marker in ("marker", "heart", "marker"):
        (sentence,) = audit(looking, marker, ["consolidation"], {})
    assert "map" not in sentence.partition("; ")[2]
    table = pd.read_csv(subject.folder / "audit.csv")
    assert table.groupby("marker").size().to_dict() == {"heart": 8, "marker": 8}


def test_a_mask_that_is_not_there(subject: Subject) -> None:
    with pytest.raises(MedrobustError, match=r"^mask: expected some of .+, found 'pacemaker'"):
        audit(subject, "pacemaker", ["consolidation"], {})


def test_a_split_without_the_marker(subject: Subject) -> None:
    bare = replace(subject, split="test")
    rows = set(bare.store.rows("test").tolist())
    masks, pixels = bare.store._masks  # type: ignore[misc]
    ids = set(bare.store.table["image_id"].iloc[sorted(rows)])
    kept = masks[~((masks["name"] == "marker") & masks["image_id"].isin(ids))]
    store = replace(bare.store)
    store.__dict__["_masks"] = (kept, pixels)
    with pytest.raises(
        MedrobustError, match=r"expected masks of marker in split test, found none$"
    ):
        audit(replace(bare, store=store), "marker", ["consolidation"], {})
