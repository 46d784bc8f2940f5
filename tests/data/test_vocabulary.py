import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust.data.vocabulary import ALIASES, canonical, same_finding
from medrobust.datasets.medmnist_labels import LABELS

TABLES = Path(__file__).parents[3] / "shared/data/label_tables"
CHEXPERT = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]
NIH = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "No Finding",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
]
VINDR = [
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
    "COPD",
    "Lung tumor",
    "Pneumonia",
    "Tuberculosis",
    "Other diseases",
    "No finding",
]
CHESTX_DET = [
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "Diffuse Nodule",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Fracture",
    "Mass",
    "Nodule",
    "Pleural Thickening",
    "Pneumothorax",
]
RSNA = ["Lung Opacity", "No Lung Opacity / Not Normal", "Normal"]
PADCHEST = [
    "normal",
    "pleural effusion",
    "infiltrates",
    "pulmonary edema",
    "pulmonary mass",
    "pulmonary fibrosis",
    "nodule",
    "multiple nodules",
    "cavitation",
    "bronchiectasis",
    "scoliosis",
    "hiatal hernia",
    "air trapping",
    "costophrenic angle blunting",
    "hemidiaphragm elevation",
    "tuberculosis",
    "ground glass pattern",
]


@pytest.mark.parametrize(
    "names",
    [CHEXPERT, NIH, VINDR, CHESTX_DET, RSNA, PADCHEST, LABELS["chestmnist"]],
    ids=["chexpert", "nih", "vindr", "chestx_det", "rsna", "padchest", "chestmnist"],
)
def test_every_label_is_known_and_keeps_apart_from_the_others(names: list[str]) -> None:
    known = [canonical(name) for name in names]
    assert set(known) <= ALIASES.keys()
    assert len(set(known)) == len(names)


def test_chexpert_keeps_its_names() -> None:
    assert [canonical(name) for name in CHEXPERT] == CHEXPERT


def test_what_chexpert_and_others_share() -> None:
    chexpert = set(CHEXPERT)
    lungs = {"Cardiomegaly", "Consolidation", "Atelectasis", "Pneumothorax", "Pleural Effusion"}
    common = lungs | {"Edema", "Pneumonia"}
    assert chexpert & {canonical(name) for name in NIH} == common | {"No Finding"}
    assert chexpert & {canonical(name) for name in LABELS["chestmnist"]} == common
    assert chexpert & {canonical(name) for name in CHESTX_DET} == lungs | {"Fracture"}
    assert chexpert & {canonical(name) for name in RSNA} == {"Lung Opacity"}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Effusion", "Pleural Effusion"),
        ("Infiltrate", "Infiltration"),
        ("Pleural_Thickening", "pleural thickening"),
        ("pleural", "Pleural_Thickening"),
        ("Edema", "pulmonary oedema"),
        ("Edema", "Oedema"),
        ("Airspace opacity", "Lung Opacity"),
        ("Nodule or mass", "Nodule/Mass"),
        ("ggo", "Ground-glass opacity"),
        ("intracranial haemorrhage", "Intracranial Hemorrhage"),
        ("lung tumour", "Lung tumor"),
        ("covid19", "COVID-19"),
        ("my own thing", "My_Own_Thing"),
    ],
)
def test_one_finding_of_two_names(a: str, b: str) -> None:
    assert same_finding(a, b)
    assert same_finding(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("No Finding", "Normal"),
        ("Lung Lesion", "Nodule"),
        ("Lung Lesion", "Mass"),
        ("Nodule", "Mass"),
        ("Nodule or Mass", "Nodule"),
        ("Nodule", "Multiple Nodules"),
        ("Consolidation", "Pneumonia"),
        ("Consolidation", "Infiltration"),
        ("Lung Opacity", "Consolidation"),
        ("Lung Opacity", "Infiltration"),
        ("Enlarged Cardiomediastinum", "Cardiomegaly"),
        ("Enlarged Cardiomediastinum", "Mediastinal Enlargement"),
        ("Pleural Other", "Pleural Thickening"),
        ("Pleural Effusion", "Pericardial Effusion"),
        ("Rib Fracture", "Fracture"),
        ("Emphysema", "Subcutaneous Emphysema"),
        ("Edema", "diabetic macular edema"),
        ("+", "-"),
        ("", " unknown "),
    ],
)
def test_two_findings(a: str, b: str) -> None:
    assert not same_finding(a, b)


def test_what_is_not_known_comes_back_stripped() -> None:
    assert canonical("  Kerley_B lines ") == "Kerley_B lines"


@given(st.text())
def test_the_name_of_a_name_is_itself(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)
    assert same_finding(name, canonical(name))


@given(st.sampled_from([(name, alias) for name in ALIASES for alias in (name, *ALIASES[name])]))
def test_case_and_underscores_do_not_matter(pair: tuple[str, str]) -> None:
    name, alias = pair
    for spelling in (alias.upper(), alias.lower().replace(" ", "_"), f" {alias}\t"):
        assert canonical(spelling) == name


def test_no_alias_belongs_to_two_findings() -> None:
    keys = Counter(canonical(alias) for name in ALIASES for alias in (name, *ALIASES[name]))
    assert keys == {name: 1 + len(others) for name, others in ALIASES.items()}


@pytest.mark.skipif(not TABLES.exists(), reason="needs ../shared/data/label_tables")
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("chestx_det/chestx_det_boxes.csv.gz", "finding"),
        ("nih/BBox_List_2017.csv.gz", "Finding Label"),
    ],
)
def test_every_name_of_the_real_tables_is_known(table: str, column: str) -> None:
    with gzip.open(TABLES / table, "rt", newline="") as file:
        names = {row[column] for row in csv.DictReader(file)} - {""}
    assert len(names) >= 8
    assert {canonical(name) for name in names} <= ALIASES.keys()
