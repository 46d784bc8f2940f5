"""One name per finding, whatever a data set calls it.

Names stand for the same finding only where a radiologist would mark the same images: a kind is
not its group ("Rib Fracture" is not "Fracture"), a cause is not its look ("Pneumonia" is not
"Consolidation"), a group is not its members ("Lung Lesion" of CheXpert is neither "Nodule" nor
"Mass"; "Enlarged Cardiomediastinum" is not "Cardiomegaly").

"No Finding" is not "Normal". Text-mined labels say "No Finding" when the report has none of *that
data set's* findings; the lungs may have others, and in CheXpert devices are allowed. "Normal" was
said by somebody who looked at the image (RSNA, Kermany) or the report of a normal one (PadChest).

Equal names do not make equal labels: data sets differ in who labelled, from what, and how surely.
The names are those of CheXpert (Irvin 2019), MIMIC-CXR, NIH ChestX-ray14 (Wang 2017), its
long-tailed extension, its re-reading (Majkowska 2020), PadChest (Bustos 2020), RSNA 2018,
VinDr-CXR (Nguyen 2022), ChestX-Det, ChestMNIST, LUNA16/LIDC and knee MRI (Štajduhar 2017, MRNet).
"""

from collections.abc import Mapping

ALIASES: Mapping[str, tuple[str, ...]] = {
    # CheXpert and MIMIC-CXR
    "No Finding": ("No Findings",),
    "Enlarged Cardiomediastinum": ("Enlarged Cardiomediastinal Silhouette",),
    "Cardiomegaly": ("Enlarged Heart", "Heart Enlargement"),
    "Lung Opacity": ("Airspace Opacity", "Pulmonary Opacity", "Opacity", "Lung Opacities"),
    "Lung Lesion": ("Pulmonary Lesion",),
    "Edema": ("Pulmonary Edema", "Lung Edema"),
    "Consolidation": ("Pulmonary Consolidation", "Lung Consolidation", "Consolidations"),
    "Pneumonia": (),
    "Atelectasis": ("Atelectases",),
    "Pneumothorax": ("Pneumothoraces",),
    "Pleural Effusion": ("Effusion", "Pleural Effusions", "Effusions"),
    "Pleural Other": ("Other Pleural",),
    "Fracture": ("Fractures",),
    "Support Devices": ("Support Device",),
    # NIH ChestX-ray14 and its long-tailed extension; ChestMNIST says "pleural"
    "Emphysema": ("Pulmonary Emphysema",),
    "Fibrosis": ("Pulmonary Fibrosis", "Lung Fibrosis"),
    "Hernia": (),
    "Infiltration": ("Infiltrate", "Infiltrates", "Pulmonary Infiltrate", "Lung Infiltrate"),
    "Mass": ("Lung Mass", "Pulmonary Mass"),
    "Nodule": ("Lung Nodule", "Pulmonary Nodule", "Nodules"),
    "Pleural Thickening": ("Pleural",),
    "Nodule or Mass": ("Nodule/Mass", "Nodule and Mass", "Mass or Nodule", "Mass/Nodule"),
    "Aortic Calcification": ("Calcification of the Aorta", "Calcified Aorta"),
    "Tortuous Aorta": (),
    "Pneumomediastinum": (),
    "Pneumoperitoneum": (),
    "Subcutaneous Emphysema": (),
    # RSNA pneumonia detection
    "Normal": (),
    "No Lung Opacity / Not Normal": (),
    # VinDr-CXR and ChestX-Det
    "Aortic Enlargement": ("Enlarged Aorta",),
    "Calcification": ("Calcifications",),
    "Chronic Obstructive Pulmonary Disease": ("COPD",),
    "Clavicle Fracture": (),
    "Diffuse Nodule": ("Diffuse Nodules",),
    "Enlarged Pulmonary Artery": ("Enlarged PA", "Pulmonary Artery Enlargement"),
    "Interstitial Lung Disease": ("ILD",),
    "Lung Cavity": ("Cavitation", "Cavity", "Pulmonary Cavity"),
    "Lung Cyst": ("Pulmonary Cyst",),
    "Lung Tumor": ("Pulmonary Tumor",),
    "Mediastinal Shift": (),
    "Other Disease": ("Other Diseases",),
    "Other Lesion": ("Other Lesions",),
    "Rib Fracture": ("Rib Fractures",),
    "Tuberculosis": ("TB", "Pulmonary Tuberculosis"),
    # PadChest
    "Air Trapping": (),
    "Alveolar Pattern": (),
    "Aortic Atheromatosis": (),
    "Aortic Elongation": (),
    "Bronchiectasis": ("Bronchiectases",),
    "Callus Rib Fracture": (),
    "Costophrenic Angle Blunting": ("Blunted Costophrenic Angle",),
    "Flattened Diaphragm": (),
    "Granuloma": ("Granulomas",),
    "Hemidiaphragm Elevation": ("Elevated Hemidiaphragm",),
    "Hiatal Hernia": ("Hiatus Hernia",),
    "Hilar Enlargement": ("Enlarged Hilum",),
    "Interstitial Pattern": (),
    "Mediastinal Enlargement": ("Mediastinal Widening", "Widened Mediastinum"),
    "Multiple Nodules": (),
    "Scoliosis": (),
    "Tube": ("Tubes",),
    # CT and MR
    "COVID-19": ("COVID",),
    "Ground-Glass Opacity": ("GGO", "Ground-Glass Opacities", "Ground-Glass Pattern"),
    "Intracranial Hemorrhage": (),
    "Malignancy": ("Malignant",),
    "ACL Tear": ("ACL", "ACL Injury", "Anterior Cruciate Ligament Tear"),
    "Partial ACL Tear": ("ACL Partially Injured", "Partially Injured ACL"),
    "Complete ACL Tear": ("ACL Completely Ruptured", "Completely Ruptured ACL", "ACL Rupture"),
    "Meniscal Tear": ("Meniscus", "Meniscus Tear"),
}
"""Name -> what else it is called, but for case, spaces and punctuation."""

SPELLINGS = {"oedema": "edema", "haem": "hem", "tumour": "tumor"}
"""British -> American."""


def canonical(name: str) -> str:
    """Return the one name of a finding; a name that is not known comes back stripped.

    Case, spaces, punctuation and British spelling do not matter: `canonical("pleural_effusion")`,
    `canonical("Effusion")` and `canonical("Pleural Effusion ")` are "Pleural Effusion".
    """
    return _NAMES.get(_key(name), name.strip())


def same_finding(a: str, b: str) -> bool:
    """Whether two names mean one finding; names that are not known, but for case and spaces."""
    a, b = canonical(a), canonical(b)
    return a == b or (_key(a) == _key(b) != "")


def _key(name: str) -> str:
    key = "".join(letter for letter in name.casefold() if letter.isalnum())
    for british, american in SPELLINGS.items():
        key = key.replace(british, american)
    return key


_NAMES = {_key(alias): name for name, others in ALIASES.items() for alias in (name, *others)}
