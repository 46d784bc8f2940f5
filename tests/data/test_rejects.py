import re

import pytest

from medrobust.data.rejects import Rejects
from medrobust.errors import MedrobustError


def test_as_many_as_allowed() -> None:
    rejects = Rejects(10, 0.2)
    rejects.add("a", "torn")
    rejects.add_all([("b", "gone")])
    assert rejects.table().to_csv(index=False) == "file,reason\na,torn\nb,gone\n"


def test_one_too_many_names_the_commonest_reasons_first() -> None:
    rows = [("a", "gone"), *((str(n), "torn") for n in range(7)), ("b", "odd"), ("c", "blue")]
    text = (
        "10 of 100 images cannot be used, more than 9.00%: torn (0, 1, 2, 3, 4 and 2 more); "
        "gone (a); odd (b); --max-rejects allows more"
    )
    with pytest.raises(MedrobustError, match=f"^{re.escape(text)}$"):
        Rejects(100, 0.09).add_all(rows)


def test_all_is_too_many_whatever_is_allowed() -> None:
    text = "none of the 2 images can be used: torn (a, b)"
    with pytest.raises(MedrobustError, match=f"^{re.escape(text)}$"):
        Rejects(2, 1).add_all([("a", "torn"), ("b", "torn")])


def test_nothing_is_wrong_with_nothing() -> None:
    assert len(Rejects(0, 0).table()) == 0
