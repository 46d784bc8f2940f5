import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.pseudonyms import pseudonymise, read_salt
from medrobust.errors import MedrobustError

SALT = b"a secret of the ward"
TABLE = pd.DataFrame(
    {
        "image_id": ["ward-a", "ward-b", "ward-c"],
        "patient_id": ["Miller", "Miller", None],
        "split": ["train", "train", "test"],
        "source": "ward",
        "file": ["Miller/1.png", "Miller/2.png", "Smith/1.png"],
        "age": [95.0, 60.0, np.nan],
        "sex": ["F", "F", "M"],
        "village": ["Little Snoring"] * 3,
        "label:ill": [1.0, 0.0, np.nan],
    }
)


def test_ids_are_keyed_hashes_and_other_metadata_is_left_out() -> None:
    found = pseudonymise(TABLE, SALT)
    assert list(found) == [
        *("image_id", "patient_id", "split", "source", "file", "age", "sex", "label:ill")
    ]
    assert found["patient_id"][0] == found["patient_id"][1]
    assert found["patient_id"].isna().tolist() == [False, False, True]
    assert found["image_id"].str.fullmatch("i[0-9a-f]{20}").all()
    assert found["file"].str.fullmatch("f[0-9a-f]{20}").all()
    assert found["age"].tolist()[:2] == [90, 60]
    assert "Miller" not in found.to_csv()
    assert found["label:ill"].equals(TABLE["label:ill"])


def test_the_salt_decides_and_nothing_else() -> None:
    one = pseudonymise(TABLE, SALT)
    assert pseudonymise(TABLE.iloc[::-1], SALT).sort_index().equals(one)
    assert not set(pseudonymise(TABLE, SALT + b"!")["image_id"]) & set(one["image_id"])


def test_a_salt_is_made_once_for_its_owner(tmp_path: Path) -> None:
    salt = read_salt(tmp_path / "secret" / "salt")
    assert len(salt) == 64
    assert read_salt(tmp_path / "secret" / "salt") == salt
    assert stat.S_IMODE((tmp_path / "secret" / "salt").stat().st_mode) == 0o600
    assert read_salt(tmp_path / "other") != salt


def test_a_short_salt_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "salt").write_text("1234\n")
    with pytest.raises(MedrobustError, match=r"expected a secret, one word of at least 16 letters"):
        read_salt(tmp_path / "salt")


def test_a_store_names_nobody_and_is_split_like_the_open_one(tiny, tmp_path: Path) -> None:
    source = tiny(change=lambda table: table.drop(columns="split"), broken=(4,))
    options = {"size": None, "max_rejects": 0.1}
    plain = prepare(source, tmp_path / "plain", **options)
    hidden = prepare(source, tmp_path / "hidden", **options, salt=SALT)
    assert hidden.table["split"].equals(plain.table["split"])
    assert np.array_equal(hidden.images, plain.images)
    assert hidden.table["patient_id"].nunique() == plain.table["patient_id"].nunique()
    text = "".join(p.read_text() for p in hidden.path.glob("*.csv"))
    assert ".bin" not in text
    assert text.count("it is torn") == 1


def test_an_error_names_nobody(tiny, tmp_path: Path) -> None:
    def spoil(table: pd.DataFrame) -> None:
        table.loc[3, "split"] = "test"
        table["patient_id"] = "Miller" + table["patient_id"]

    with pytest.raises(MedrobustError) as caught:
        prepare(tiny(change=spoil), tmp_path / "store", size=None, salt=SALT)
    assert "1 patients are in more than one split, such as that of rows 3, 4" in str(caught.value)
    assert "Miller" not in str(caught.value)
