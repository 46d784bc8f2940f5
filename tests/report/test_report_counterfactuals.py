import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import AWKWARD, Workplace
from pages import outline, text_of
from PIL import Image

from medrobust.errors import MedrobustError
from medrobust.files import file_name
from medrobust.report import page
from medrobust.report.counterfactuals import counterfactual_section
from medrobust.report.figures import styles
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers, evaluations
from medrobust.report.predicted import Predicted
from medrobust.report.read import read_runs

OTHER = "judge <i>/0/adv"
SPOKEN = "the adversarial branch of judge <i> (seed 0)"
WHY = "AUROC 0.900 clean, 0.300 attacked with linf ε = 4/255"
SHAPE = (1, 12, 10)


def rows_of(branch: str, finding: str, valid: list[float], robust: int) -> pd.DataFrame:
    """One row per image, in turn towards and away."""
    count = len(valid)
    towards = np.arange(count) % 2 == 0
    return pd.DataFrame(
        {
            **{"store": "blobs", "split": "test", "branch": branch, "finding": finding},
            "direction": np.where(towards, "towards", "away"),
            "image_id": [f"img{n:02d}" for n in range(count)],
            **{"p": 1.5, "level": 9 / 255, "radius": 0.9, "steps": 75},
            "probability_before": np.where(towards, 0.1, 0.9),
            "probability_after": np.where(towards, 0.8, 0.2),
            **{"threshold": 0.4, "valid": valid, "valid_on_other": [1.0, 0.0] * (count // 2)},
            **{"other": OTHER, "l1": 4.0, "l2": 0.75, "linf": 0.25, "lp": 0.9, "changed": 0.5},
            **{"top": 0.25, "robust": robust, "other_robust": 1, "reason": WHY},
        }
    )


def write(run: Path, tables: list[pd.DataFrame], shape: tuple[int, ...] = SHAPE) -> None:
    """The table, and arrays whose images become brighter on the left and darker on the right."""
    (run / "explain").mkdir(exist_ok=True)
    pd.concat(tables).to_csv(run / "explain" / "counterfactuals.csv", index=False)
    change = np.zeros(shape, np.float32)
    change[..., 2:5], change[..., 6:9] = 0.2, -0.2
    for table in tables:
        ids = table["image_id"].to_numpy(str)
        start = np.full((len(ids), *shape), 0.5, np.float32)
        path = np.stack([start, start + change / 2, start + change], axis=1)
        branch, finding = table["branch"].iloc[0], table["finding"].iloc[0]
        folder = run / "explain" / "counterfactuals" / "blobs" / "test" / branch
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / f"{file_name(finding)}.npz",
            **{"image_id": ids, "steps": np.array([0, 6, 75]), "path": path.astype(np.float16)},
            **{"start": path[:, 0], "end": path[:, -1]},
            scores=np.tile(np.float32([-2, 0, 2]), (len(ids), 1)),
        )


@pytest.fixture
def runs(workplace: Workplace, tmp_path: Path) -> Path:
    """Two seeds of dual with counterfactuals, and a standard run without."""
    for name in ("standard", "dual"):
        shutil.copytree(workplace.runs / name, tmp_path / name)
    valid = {"clean": [1.0, 1.0, 0.0, np.nan], "adv": [1.0, 1.0, 1.0, 1.0]}
    for seed in ("0", "1"):
        tables = [
            rows_of(branch, finding, valid[branch], int(branch == "adv"))
            for finding in ("Nodule", AWKWARD)
            for branch in valid
        ]
        write(tmp_path / "dual" / seed, tables)
    return tmp_path


def material(runs: Path) -> Material:
    found = read_runs([runs / "standard", runs / "dual"])
    numbers = Numbers(found, evaluations(found)[0])
    return Material(numbers, Predicted(numbers), styles(numbers.arms), None)


def rendered(content: object) -> str:
    call = (
        '{% from "counterfactuals.html.j2" import counterfactuals %}{{ counterfactuals(content) }}'
    )
    return page._environment().from_string(call).render(content=content)


def picture(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_without_files_there_is_no_section(workplace: Workplace, runs: Path) -> None:
    assert counterfactual_section(material(workplace.runs)) is None
    for file in runs.glob("dual/*/explain/counterfactuals.csv"):
        file.write_text(file.read_text().replace("blobs,test", "blobs,val"))
    assert counterfactual_section(material(runs)) is None


def test_the_table_counts_what_can_be_told(runs: Path) -> None:
    section = counterfactual_section(material(runs))
    assert section is not None
    assert [group.head for group in section.table.groups] == ["Nodule", AWKWARD]
    rows = section.table.groups[0].rows
    assert [(row.head, row.note) for row in rows] == [
        ("dual · clean branch", "seed 0"),
        ("dual · clean branch", "seed 1"),
        ("dual · adversarial branch", "seed 0"),
        ("dual · adversarial branch", "seed 1"),
    ]
    space = "\N{NO-BREAK SPACE}"
    assert [(cell.main, cell.note) for cell in rows[0].cells] == [
        ("4", ""),
        (f"67{space}%", "2 of 3"),
        (f"50{space}%", "2 of 4"),
        ("0.75", ""),
        ("0.25", ""),
        (f"50{space}%", ""),
        (f"25{space}%", ""),
    ]
    assert rows[2].cells[1].note == "4 of 4"
    assert section.table.caption == (
        "Images changed within a ball of the norm l_p, p = 1.5 with a mean change of 9/255 per "
        "pixel. Decisions that were as wanted before are not counted; distances are means. The "
        f"other model is {SPOKEN}."
    )


def test_branches_that_are_not_robust_are_warned_of(runs: Path) -> None:
    section = counterfactual_section(material(runs))
    assert section is not None
    assert section.warnings == [
        f"The pictures of the clean branch of dual mean little: it is not robust ({WHY}), and what "
        "changes its decisions need not be anything that a person can see."
    ]


def test_a_judge_that_is_not_robust_is_warned_of(runs: Path) -> None:
    for file in runs.glob("dual/*/explain/counterfactuals.csv"):
        pd.read_csv(file).assign(other_robust=0, robust=1).to_csv(file, index=False)
    section = counterfactual_section(material(runs))
    assert section is not None
    assert section.warnings == [
        f"The other model, {SPOKEN}, is not robust: that it agrees shows little, since noise that "
        "misleads one network misleads others like it."
    ]


def test_a_case_of_each_direction_shows_every_model(runs: Path) -> None:
    section = counterfactual_section(material(runs))
    assert section is not None
    assert [(case.heading, case.image_id) for case in section.cases] == [
        ("Nodule made to appear", "img00"),
        ("Nodule made to vanish", "img01"),
        (f"{AWKWARD} made to appear", "img00"),
        (f"{AWKWARD} made to vanish", "img01"),
    ]
    case = section.cases[0]
    assert (case.width, case.height) == (10, 12)
    assert [panel.arm.label for panel in case.panels] == [
        "dual · clean branch",
        "dual · adversarial branch",
    ]
    panel = case.panels[0]
    assert (panel.before, panel.after) == ("0.10", "0.80")
    assert panel.verdict == "decision changed (threshold 0.40); the other model agrees"
    assert [stop.words for stop in panel.way] == ["step 6, p 0.50"]
    assert section.cases[1].panels[0].verdict == (
        "decision changed (threshold 0.40); the other model does not agree"
    )


def test_red_is_brighter_and_blue_darker(runs: Path) -> None:
    section = counterfactual_section(material(runs))
    assert section is not None
    panel = section.cases[0].panels[0]
    red, _, blue, alpha = np.moveaxis(np.asarray(picture(panel.difference).convert("RGBA")), 2, 0)
    assert (alpha[:, [2, 3, 4, 6, 7, 8]] > 0).all()
    assert (alpha[:, [0, 1, 5, 9]] == 0).all()
    assert (red[:, 3] > blue[:, 3]).all()
    assert (red[:, 7] < blue[:, 7]).all()
    end = np.asarray(picture(panel.end).convert("L")).astype(float)
    np.testing.assert_allclose(end[:, [0, 3, 7]] / 255, [[0.5, 0.7, 0.3]] * 12, atol=0.01)


@pytest.mark.parametrize(
    ("valid", "words"),
    [
        (0.0, "decision not changed (threshold 0.40)"),
        (np.nan, "decided so before (threshold 0.40)"),
    ],
)
def test_other_verdicts(runs: Path, valid: float, words: str) -> None:
    for seed in ("0", "1"):
        table = rows_of("adv", "Nodule", [valid] * 2, 1)
        write(
            runs / "dual" / seed, [table.assign(valid_on_other=np.nan, other="", other_robust="")]
        )
    section = counterfactual_section(material(runs))
    assert section is not None
    assert section.cases[0].panels[0].verdict == words
    assert "other model" not in section.table.caption
    assert section.table.groups[0].rows[0].cells[2].main == "–"


def test_of_a_volume_the_middle_slice_is_drawn(runs: Path) -> None:
    for seed in ("0", "1"):
        write(runs / "dual" / seed, [rows_of("adv", "Nodule", [1.0, 1.0], 1)], (1, 5, 12, 10))
    section = counterfactual_section(material(runs))
    assert section is not None
    assert section.volumes
    assert (section.cases[0].width, section.cases[0].height) == (10, 12)
    assert "the middle slice is drawn" in rendered(section)


def test_a_table_without_pictures_is_still_a_table(runs: Path) -> None:
    for folder in runs.glob("dual/*/explain/counterfactuals"):
        shutil.rmtree(folder)
    section = counterfactual_section(material(runs))
    assert section is not None
    assert section.cases == []
    assert len(section.table.groups) == 2
    assert '<svg class="picture' not in rendered(section)


def test_the_page_is_sound_and_escapes_names(runs: Path) -> None:
    html = rendered(counterfactual_section(material(runs)))
    parsed = outline(html)
    assert parsed.problems == []
    assert parsed.open == []
    assert "<b>" not in html
    assert "<i>" not in html
    words = text_of(html)
    assert "Mass &lt;b&gt;&amp;co made to vanish" in words
    assert "p 0.10 → 0.80 , decision changed" in words
    sources = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)


@pytest.mark.parametrize("left", [0, 7, 500, -5])
def test_damaged_pictures(runs: Path, left: int) -> None:
    folder = runs / "dual" / "0" / "explain" / "counterfactuals" / "blobs" / "test" / "clean"
    file = folder / "Nodule.npz"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(MedrobustError) as caught:
        counterfactual_section(material(runs))
    assert str(caught.value) == (
        f"{file}: expected counterfactuals, found another file; run `explain` again"
    )


@pytest.mark.parametrize("content", ["store,split\nblobs,test\n", ""])
def test_a_damaged_table(runs: Path, content: str) -> None:
    (runs / "dual" / "0" / "explain" / "counterfactuals.csv").write_text(content)
    with pytest.raises(MedrobustError, match="expected a table with columns store, split, branch"):
        counterfactual_section(material(runs))
