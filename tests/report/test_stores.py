import re
from dataclasses import replace

import pytest
from fake_runs import Workplace

from medrobust.errors import MedrobustError
from medrobust.report.read import Run
from medrobust.report.stores import find_store


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
