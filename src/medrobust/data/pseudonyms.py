"""Names for patients, images and files that say nothing to who does not know the salt.

A pseudonym is a keyed hash (HMAC-SHA256): equal ids have equal pseudonyms in every store made
with the same salt, and without the salt they cannot be found by trying all ids.
"""

import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medrobust.data.dicom_header import BODY_PARTS, MANUFACTURERS, MODALITIES, VIEWS
from medrobust.data.table import LABEL
from medrobust.errors import MedrobustError
from medrobust.files import write_atomically

PREFIXES = {"patient_id": "p", "image_id": "i", "file": "f"}
KEPT = ("split", "source", "age", "problem")
"""Columns that stay as they are."""
WORDS: Mapping[str, Collection[str]] = {
    "sex": ("F", "M", "O"),
    "view": (*VIEWS.values(), "frontal"),
    "laterality": ("L", "R"),
    "modality": MODALITIES,
    "body_part": BODY_PARTS,
    "manufacturer": MANUFACTURERS,
}
"""Columns of which these words stay; any other metadata could identify somebody."""
OLDEST = 90
"""Years at which ages end: older people are few (HIPAA's safe harbour, 45 CFR 164.514)."""
DIGITS = 20
SHORTEST = 16


def read_salt(path: Path) -> bytes:
    """Read a salt, or make one of 32 random bytes where there is no such file.

    Raises:
        MedrobustError: the file is too short to be a secret, or cannot be read.
    """
    if not path.exists():
        with write_atomically(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    if path.is_dir():
        raise MedrobustError(f"expected a file with a secret at {path}, found a folder")
    salt = path.read_bytes().strip()
    if not re.fullmatch(rb"[!-~]{%d,1000}" % SHORTEST, salt):
        raise MedrobustError(
            f"{path}: expected a secret, one word of at least {SHORTEST} letters and digits, found "
            "something else; name a file that does not exist and one is made"
        )
    return salt


def pseudonymise(table: pd.DataFrame, salt: bytes) -> pd.DataFrame:
    """Return a table in which patients, images and files have pseudonyms.

    Of metadata only columns and words of a short list are kept, and ages above 90 become 90.

    Raises:
        MedrobustError: two ids have one pseudonym (another salt helps).
    """
    known = {*KEPT, *PREFIXES, *WORDS}
    table = table[[c for c in table.columns if c in known or c.startswith(LABEL)]].copy()
    for column in WORDS.keys() & set(table.columns):
        table[column] = table[column].where(table[column].isin(WORDS[column]))
    for column, prefix in PREFIXES.items():
        if column in table:
            table[column] = _hashed(table[column], prefix, salt)
    if "age" in table:
        table["age"] = pd.to_numeric(table["age"]).clip(upper=OLDEST)
    return table


def _hashed(ids: "pd.Series[Any]", prefix: str, salt: bytes) -> "pd.Series[Any]":
    # an image without a patient is its own, so that ids of all kinds share one space
    names = {name: prefix + _digest(str(name), salt) for name in ids.dropna().unique()}
    if len(set(names.values())) < len(names):
        raise MedrobustError("two ids have the same pseudonym: take another salt")
    return ids.map(names)


def _digest(name: str, salt: bytes) -> str:
    return hmac.digest(salt, name.encode(), "sha256").hex()[:DIGITS]
