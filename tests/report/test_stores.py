import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import Workplace

from medrobust.errors import MedrobustError
from medrobust.report.read import Run
from medrobust.report.stores import find_store, used_stores
from medrobust.report.terms import Evaluation


def test_a_relative_path_is_tried_above_the_run(found: list[Run], workplace: Workplace) -> None:
    store = {"name": "blobs", "path": "store"}
    run = replace(found[0], provenance={"store": store}, config={})
    assert find_store(run).checksum == workplace.store.checksum


def test_the_settings_are_asked_second(found: list[Run], workplace: Workplace) -> None:
    run = replace(found[0], provenance={"store": {"path": "/nowhere"}})
    assert find_store(run).checksum == workplace.store.checksum


def test_a_store_that_is_gone(found: list[Run]) -> None:
    run = replace(found[0], provenance={"store": {"path": "/nowhere"}}, config={})
    with pytest.raises(
        MedrobustError, match=r"^expected a store at /nowhere, found no such folder"
    ):
        find_store(run)


def test_no_word_of_a_store(found: list[Run]) -> None:
    run = replace(found[0], provenance={}, config={})
    text = re.escape("standard, seed 0 does not say which store it was trained on")
    with pytest.raises(MedrobustError, match=f"^{text}$"):
        find_store(run)


def test_a_tested_store_is_found_beside_the_training_s(
    found: list[Run], workplace: Workplace, tmp_path: Path
) -> None:
    store = workplace.store
    folder = shutil.copytree(store.path, tmp_path / "stores" / "home")
    run = replace(found[0], provenance={"store": {"name": "blobs", "path": str(folder)}})
    other = shutil.copytree(folder, tmp_path / "stores" / "other")
    info = json.loads((other / "store.json").read_text()) | {"name": "far", "checksum": "ab" * 32}
    (other / "store.json").write_text(json.dumps(info))
    measured = [Evaluation(name, "test") for name in ("blobs", "far-abababab", "far-00000000")]
    stores, missing = used_stores([run, run], measured)
    assert [one.info.name for one in stores] == ["blobs", "far"]
    assert missing == ["far-00000000"]


def test_a_training_store_that_is_gone_is_named(found: list[Run]) -> None:
    store = {"name": "blobs", "path": "/nowhere"}
    run = replace(found[0], provenance={"store": store}, config={})
    assert used_stores([run], [Evaluation("blobs", "test")]) == ([], ["blobs"])
