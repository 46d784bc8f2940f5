"""The few header fields that may be known of a DICOM file.

Never names, dates or free text: what goes into a store is a number, or one of words listed here.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from medrobust.data.dicom import open_dataset, silent
from medrobust.errors import MedrobustError

KEYS = ("SOPInstanceUID", "AccessionNumber", "PatientID")
"""By which labels may be matched; of these only PatientID goes into a store."""
FIELDS = (
    *KEYS,
    *("PatientAge", "PatientSex", "ViewPosition", "Modality", "Laterality"),
    *("BodyPartExamined", "Manufacturer"),
)
VIEWS = {view: view for view in ("AP", "PA", "LLD", "RLD", "LLO", "RLO")}
VIEWS |= dict.fromkeys(("LL", "RL", "LAT", "LATERAL"), "lateral")
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
BODY_PARTS = (
    *("ABDOMEN", "ANKLE", "ARM", "BRAIN", "BREAST", "CHEST", "CSPINE", "ELBOW", "EXTREMITY"),
    *("FOOT", "HAND", "HEAD", "HEART", "HIP", "KNEE", "LEG", "LIVER", "LSPINE", "LUNG", "NECK"),
    *("PELVIS", "PROSTATE", "SHOULDER", "SKULL", "SPINE", "THORAX", "TSPINE", "WRIST"),
)
MODALITIES = (
    *("BMD", "CR", "CT", "DX", "ES", "GM", "IO", "IVUS", "MG", "MR", "NM", "OCT", "OP", "OT"),
    *("PT", "PX", "RF", "RG", "RTDOSE", "RTIMAGE", "SC", "SEG", "SM", "US", "XA", "XC"),
)
MANUFACTURERS = (
    *("AGFA", "CANON", "CARESTREAM", "FUJI", "FUJIFILM", "GE", "G.E.", "HITACHI", "HOLOGIC"),
    *("KODAK", "KONICA", "PHILIPS", "SAMSUNG", "SHIMADZU", "SIEMENS", "TOSHIBA", "VAREX"),
)
SAME = {"FUJIFILM": "FUJI", "G.E.": "GE"}


@dataclass(frozen=True)
class Header:
    """What is read of a file's header; empty where absent or not one of the words expected."""

    keys: dict[str, str]
    """Of `KEYS`."""
    age: float = math.nan
    """Years."""
    sex: str = ""
    view: str = ""
    modality: str = ""
    laterality: str = ""
    body_part: str = ""
    manufacturer: str = ""
    problem: str = ""
    """Why the file cannot be used; all else is empty then."""


def read_header(path: Path) -> Header:
    """Read the allowed fields of a file; a file that cannot be read says why in `problem`.

    A deflated file is inflated as a whole for that: read it in a process with limits.
    """
    try:
        with silent():
            found = open_dataset(path, specific_tags=list(FIELDS), stop_before_pixels=True)
            text = {name: str(found.get(name) or "").strip() for name in FIELDS}
    except MedrobustError as error:
        return Header({}, problem=str(error))
    except MemoryError:  # a matter of limits, not of the file's contents
        raise
    except Exception:  # pydicom raises nearly anything for what it cannot make sense of
        return Header({}, problem="its DICOM header cannot be read")
    return Header(
        keys={name: text[name] for name in KEYS},
        age=_age(text["PatientAge"]),
        sex=text["PatientSex"] if text["PatientSex"] in ("F", "M") else "",
        view=VIEWS.get(text["ViewPosition"].upper(), ""),
        modality=text["Modality"] if text["Modality"] in MODALITIES else "",
        laterality=text["Laterality"] if text["Laterality"] in ("L", "R") else "",
        body_part=text["BodyPartExamined"] if text["BodyPartExamined"] in BODY_PARTS else "",
        manufacturer=_manufacturer(text["Manufacturer"].upper()),
    )


def _age(text: str) -> float:
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text)
    if text == "000Y":  # how unknown ages are written; newborns have days
        return math.nan
    return round(int(found[1]) * YEARS[found[2]], 2) if found else math.nan


def _manufacturer(text: str) -> str:
    """The first word of a name, in one spelling, if it is one of those known."""
    first = text.replace("_", " ").partition(" ")[0]
    return SAME.get(first, first) if first in MANUFACTURERS else ""
