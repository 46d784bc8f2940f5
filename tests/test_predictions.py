import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.errors import MedrobustError
from medrobust.predictions import finding_names, labels_of, read_predictions, write_predictions

SIDECAR = {
    "store": "phantom",
    "store_checksum": "abc",
    "split": "test",
    "checkpoint": "best",
    "branch": "adv",
    "attack": {"name": "", "eps": 0.0, "step_size": None},
    "weights": "def",
    "task": "multilabel",
}


def predicted(n=3, kind=np.float32):
    logits = np.random.default_rng(0).normal(size=n, scale=5).astype(kind)
    return pd.DataFrame(
        {
            "image_id": [f"00{i}" for i in range(n)],
            "patient_id": ["NA", "007", "1e3"][:n],
            "branch": "adv",
            "Edema": (1 / (1 + np.exp(-logits))).astype(kind),
            "logit:Edema": logits,
        }
    )


def labelled(n=3):
    return pd.DataFrame(
        {
            "image_id": [f"00{i}" for i in reversed(range(n))],
            "patient_id": list(reversed(["NA", "007", "1e3"][:n])),
            "label:Pneumonia": 0.0,
            "label:Edema": [1.0, np.nan, 0.0][:n],
        }
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_is_written_is_read_to_the_last_bit(tmp_path, kind):
    path = tmp_path / "deep" / "phantom-test-best-adv-pgd-linf-0.015686-on-adv.csv"
    frame = predicted(kind=kind)
    write_predictions(path, frame, SIDECAR)
    read, sidecar = read_predictions(path)
    assert sidecar == SIDECAR
    assert list(read.columns) == list(frame.columns)
    assert read["image_id"].tolist() == ["000", "001", "002"]
    assert read["patient_id"].tolist() == ["NA", "007", "1e3"]
    for column in ("Edema", "logit:Edema"):
        np.testing.assert_array_equal(read[column].to_numpy(kind), frame[column])
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".json"] == [
        "phantom-test-best-adv-pgd-linf-0.015686-on-adv.json"
    ]
    assert len(list(path.parent.iterdir())) == 2


def test_findings_are_those_with_logits():
    assert finding_names(predicted()) == ["Edema"]


def test_nothing_is_written_of_predictions_that_could_not_be_read(tmp_path):
    path = tmp_path / "a.csv"
    frame = predicted()
    frame.loc[1, ["Edema", "logit:Edema"]] = np.nan
    with pytest.raises(MedrobustError) as error:
        write_predictions(path, frame, SIDECAR)
    assert str(error.value) == (
        f"{path}: expected probabilities in [0, 1] and finite logits, found Edema = nan with "
        "logit nan for image '001'; has training diverged?"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_csv_never_stands_beside_the_sidecar_of_another(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    write_predictions(path, predicted(), SIDECAR)

    def full(path, table):
        raise OSError("disk full")

    monkeypatch.setattr("medrobust.predictions.write_csv", full)
    with pytest.raises(OSError, match="disk full"):
        write_predictions(path, predicted(), SIDECAR | {"split": "val"})
    assert not path.exists()


def refusal(path: Path) -> str:
    with pytest.raises(MedrobustError) as error:
        read_predictions(path)
    text = str(error.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_a_missing_or_broken_sidecar_is_named(tmp_path):
    path = tmp_path / "a.csv"
    write_predictions(path, predicted(), SIDECAR)
    path.with_suffix(".json").write_text("{")
    broken = refusal(path)
    path.with_suffix(".json").unlink()
    assert refusal(path) == broken
    assert broken == (
        "expected its settings in a.json, which is missing or not JSON; run `evaluate` again"
    )


def test_a_sidecar_without_a_setting_is_named(tmp_path):
    path = tmp_path / "a.csv"
    write_predictions(path, predicted(), SIDECAR)
    beside = path.with_suffix(".json")
    wanted = "expected store, split, checkpoint, branch, attack, task in a.json, found "
    for text, found in [
        (json.dumps({"store": "phantom"}), "no split"),
        ("[]", "no store"),
        (json.dumps(SIDECAR | {"attack": "pgd"}), "an attack without settings"),
    ]:
        beside.write_text(text)
        assert refusal(path) == f"{wanted}{found}; run `evaluate` again"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda f: f.drop(columns="patient_id"), "patient_id"),
        (lambda f: f.drop(columns="Edema"), "Edema"),
        (lambda f: f.drop(columns="logit:Edema"), "logit:Edema"),
        (lambda f: f.drop(columns=["Edema", "logit:Edema"]), "logit:<finding>"),
    ],
)
def test_a_missing_column_is_named(tmp_path, change, found):
    path = tmp_path / "a.csv"
    write_predictions(path, predicted(), SIDECAR)
    change(predicted()).to_csv(path, index=False)
    assert refusal(path) == (
        "expected columns image_id, patient_id, branch, <finding> and logit:<finding>, found no "
        f"{found}; run `evaluate` again"
    )


def test_an_image_may_stand_only_once(tmp_path):
    frame = predicted().assign(image_id=["a", "b", "a"])
    with pytest.raises(MedrobustError, match="expected one row per image, found image 'a' twice"):
        write_predictions(tmp_path / "a.csv", frame, SIDECAR)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.5,word", "expected a table of predictions, found: "),
        ("0.5,", "expected a table of predictions, found: "),
        ("1.5,3", "found Edema = 1.5 with logit 3.0 for image 'x'; has training diverged?"),
        ("0.5,inf", "found Edema = 0.5 with logit inf for image 'x'; has training diverged?"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path, text, found):
    path = tmp_path / "a.csv"
    write_predictions(path, predicted(), SIDECAR)
    path.write_text(f"image_id,patient_id,branch,Edema,logit:Edema\nx,y,adv,{text}\n")
    assert found in refusal(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'"a\n' * 3])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "a.csv"
    write_predictions(path, predicted(), SIDECAR)
    path.write_bytes(content)
    assert refusal(path).endswith("run `evaluate` again")


def test_labels_follow_the_order_of_the_predictions():
    labels = labels_of(predicted(), labelled())
    assert list(labels.columns) == ["Edema"]
    np.testing.assert_array_equal(labels["Edema"], [0, np.nan, 1])


def test_a_finding_that_the_store_does_not_label_is_unknown():
    frame = predicted().assign(Hernia=0.5, **{"logit:Hernia": 0.0})
    assert labels_of(frame, labelled())["Hernia"].isna().all()


def test_a_store_with_none_of_the_findings_is_refused():
    with pytest.raises(MedrobustError) as error:
        labels_of(predicted(), labelled().drop(columns="label:Edema"))
    assert str(error.value) == (
        "expected labels of Edema, found labels of Pneumonia; give the store that was evaluated"
    )


def test_images_of_another_store_are_refused():
    with pytest.raises(MedrobustError) as error:
        labels_of(predicted().assign(image_id=["000", "x", "y"]), labelled())
    assert str(error.value) == (
        "expected predictions of images in the store, found 2 images that it does not have, "
        "first 'x'; give the store that was evaluated"
    )


def test_another_patient_of_the_same_image_is_refused():
    with pytest.raises(MedrobustError, match="found another patient for image '001'"):
        labels_of(predicted().assign(patient_id=["NA", "8", "1e3"]), labelled())
