"""Untouched runs pass; whatever is changed by hand is found by its name."""

import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from medrobust import checkpoints
from medrobust.cli import main
from medrobust.data.cases import stratified_rows
from medrobust.data.store import Store
from medrobust.evaluate import Evaluation, evaluate
from medrobust.files import sha256_of
from medrobust.rundir import RunDir, run_directory
from medrobust.train import train
from medrobust.trust_table import Check
from medrobust.verify import Finding, verify
from medrobust.verify.evidence import Evidence, gather
from medrobust.verify.flips import check_flips
from medrobust.verify.receipts import check_predictions
from medrobust.verify.saved import check_saved
from medrobust.verify.thresholds import check_thresholds, cuts_of
from medrobust.verify.worst import check_worst

Copy = Callable[[RunDir], RunDir]
EPS = 2 / 255
CLEAN = "phantom-test-best-single-clean"
UNSCORED = ("not checked", "it has no rows: other weights made it")
NO_CHECK = "no row of trust.csv is of this network"
NO_RECEIPT = "rows of trust.csv without a receipt"
ATTACKED = "phantom-test-best-single-pgd-linf-0.00784314-on-single"


@pytest.fixture(scope="module")
def quick_run(standard_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """One with fewer numbers; nothing may change it."""
    folder = tmp_path_factory.mktemp("quick") / "run"
    run = RunDir(Path(shutil.copytree(standard_run.path, folder)))
    evaluate(run, what=Evaluation(groups=(), redraws=100))
    return run


@pytest.fixture(scope="module")
def saved_run(dual_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """One with PNG files, several norms and corruptions; nothing may change it."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    run = RunDir(Path(shutil.copytree(dual_run.path, folder)))
    fewer: dict[str, Any] = {"groups": (), "redraws": 100, "suite": "fgsm"}
    evaluate(run, what=Evaluation(matrix=True, save="8", **fewer))
    evaluate(run, what=Evaluation(norm="l2", eps=(0.3, 0.6), corruptions=("blur",), **fewer))
    evaluate(run, what=Evaluation(norm="l1", eps=(500.0,), unit="native", save="stored", **fewer))
    return run


@pytest.fixture
def run(quick_run: RunDir, copy_of: Copy) -> RunDir:
    """One that may be changed."""
    return copy_of(quick_run)


def wrong(run: RunDir, store: Store | None = None) -> list[Finding]:
    """Whatever is not ok, but for the checks of trust that these runs go without."""
    findings = verify(run, store)
    return [one for one in findings if one.verdict != "ok" and one.note != NO_CHECK]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_table(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Change a table, of which the cells are text, and return it."""
    table = change(pd.read_csv(path, dtype=str, keep_default_na=False))
    table.to_csv(path, index=False)
    return table


def evidence_of(run: RunDir, store: Store | None = None) -> Evidence:
    """What single checks work on."""
    return gather(run, store, torch.device("cpu"), lambda total, title: lambda done: None)[0]


def edit_images(run: RunDir, change: Callable[[np.ndarray], None], stem: str = ATTACKED) -> None:
    """Change the attacked images, and let the receipt know the new file."""
    path = run.adversarial / f"{stem}.npz"
    with np.load(path) as saved:
        arrays = {name: saved[name] for name in saved.files}
    change(arrays["by_finding"])
    np.savez_compressed(path, **arrays)
    edit_json(run.receipts / f"{stem}.json", adversarial_sha256=sha256_of(path))


class TestUntouched:
    def test_all_is_ok(self, evaluated_run: RunDir) -> None:
        findings = verify(evaluated_run)
        unchecked = [finding for finding in findings if finding.verdict != "ok"]
        start = "phantom-test-best"
        assert unchecked == [
            Finding("trust", f"{start}-{branch}-linf", "not checked", NO_CHECK)
            for branch in ("adv", "clean")
        ]
        checked = {(finding.check, finding.what) for finding in findings}
        stems = {path.stem for path in evaluated_run.predictions.glob("*.csv")}
        attacked = {stem for stem in stems if "-on-" in stem}
        expected = {("store", "phantom"), *(finding[:2] for finding in unchecked)}
        kinds = ("predictions", "split", "weights", "images", "thresholds")
        for stem in stems:
            expected |= {(check, stem) for check in kinds}
            if "-val-" not in stem:
                expected |= {("metrics", stem)}
            else:
                expected |= {("metrics", f"{stem}/thresholds")}
        kinds = ("ball", "receipt", "worst case", "flips")
        expected |= {(check, stem) for check in kinds for stem in attacked}
        assert checked == expected

    def test_nothing_is_written(
        self, evaluated_run: RunDir, contents: Callable[[Path], dict[str, bytes]]
    ) -> None:
        before = contents(evaluated_run.path)
        verify(evaluated_run)
        assert contents(evaluated_run.path) == before

    def test_not_evaluated(self, dual_run: RunDir) -> None:
        assert verify(dual_run) == []


class TestPredictions:
    def test_one_probability_of_attacked_ones(self, run: RunDir) -> None:
        path = run.predictions / f"{ATTACKED}.csv"
        table = pd.read_csv(path, dtype=str)
        table.loc[3, "nodule"] = "0.123"
        table.to_csv(path, index=False)
        found = wrong(run)
        assert (
            "receipt",
            ATTACKED,
            "wrong",
            f"predictions/{ATTACKED}.csv was changed: its SHA-256 is not the receipt's",
        ) in found
        image = table["image_id"][3]
        note = f"nodule: the probability of image {image!r} is not that of its logit"
        assert ("predictions", ATTACKED, "wrong", note) in found
        assert any(f.check == "metrics" and f.what == ATTACKED for f in found)

    def test_one_probability_of_clean_ones_with_its_logit(self, run: RunDir) -> None:
        path = run.predictions / f"{CLEAN}.csv"
        table = pd.read_csv(path, dtype=str)
        old = float(table.loc[3, "logit:nodule"])
        table.loc[3, "nodule"] = repr(1 / (1 + math.exp(-3)))
        table.loc[3, "logit:nodule"] = "3.0"
        table.to_csv(path, index=False)
        found = [finding for finding in wrong(run) if finding.check != "metrics"]
        assert found == [
            Finding(
                "images",
                CLEAN,
                "wrong",
                f"logit:nodule: image {table['image_id'][3]!r} gives {old:.6g}, predicted was 3 "
                "(1 of 16 images are off)",
            )
        ]

    def test_gone(self, run: RunDir) -> None:
        (run.predictions / f"{ATTACKED}.csv").unlink()
        found = {(finding.check, finding.note) for finding in wrong(run)}
        assert ("receipt", f"its predictions/{ATTACKED}.csv is missing") in found
        assert any(
            check == "metrics"
            and note.endswith(f"predictions/{ATTACKED}.csv is missing or can't be read")
            for check, note in found
        )

    def test_without_a_sidecar(self, run: RunDir) -> None:
        (run.predictions / f"{CLEAN}.json").unlink()
        (first, *_) = wrong(run)
        assert first[:3] == ("predictions", CLEAN, "wrong")
        assert "expected its settings in" in first.note


class TestReceipts:
    def test_gone(self, run: RunDir) -> None:
        (run.receipts / f"{ATTACKED}.json").unlink()
        note = f"attacked predictions without receipts/{ATTACKED}.json"
        assert wrong(run) == [Finding("receipt", ATTACKED, "wrong", note)]

    def test_truncated(self, run: RunDir) -> None:
        path = run.receipts / f"{ATTACKED}.json"
        path.write_text(path.read_text()[:100])
        note = f"{ATTACKED}.json can't be read as JSON"
        assert wrong(run) == [Finding("receipt", ATTACKED, "wrong", note)]

    def test_not_an_object(self, run: RunDir) -> None:
        (run.receipts / f"{ATTACKED}.json").write_text("[]")
        note = f"{ATTACKED}.json should hold an object"
        assert wrong(run) == [Finding("receipt", ATTACKED, "wrong", note)]

    @pytest.mark.parametrize(
        ("name", "value", "note"),
        [
            ("attack", {"eps": 1.0}, f"attack is not that of predictions/{ATTACKED}.json"),
            ("weights", "0", f"weights is not that of predictions/{ATTACKED}.json"),
            ("images", 3, "images is 3, the predictions have 16"),
            ("outcome", {}, "outcome is not that of the predictions"),
            ("predictions", "other", "it names the predictions 'other'"),
        ],
    )
    def test_changed(self, run: RunDir, name: str, value: Any, note: str) -> None:
        edit_json(run.receipts / f"{ATTACKED}.json", **{name: value})
        assert wrong(run) == [Finding("receipt", ATTACKED, "wrong", note)]

    def test_a_smaller_radius_in_receipt_and_sidecar(self, run: RunDir) -> None:
        for folder in (run.receipts, run.predictions):
            edit(folder / f"{ATTACKED}.json", repr(EPS), "0.001")
        found = wrong(run)
        assert {finding.check for finding in found} == {"ball", "flips", "metrics"}
        assert "the radius is 0.001" in found[0].note


class TestImages:
    def test_outside_the_ball(self, run: RunDir, tiny_store: Store) -> None:
        with np.load(run.adversarial / f"{ATTACKED}.npz") as saved:
            image, number = str(saved["image_id"][1]), len(saved["image_id"])
        row = tiny_store.table["image_id"].tolist().index(image)
        middle = tiny_store.pixels(row).astype(float).squeeze()[10, 10] / 255
        away = 0.02 if middle < 0.5 else -0.02

        def change(images: np.ndarray) -> None:
            images[1, 2, 0, 10, 10] = middle + away

        edit_images(run, change)
        start = f"image {image!r} of {tiny_store.findings[2]} is 0.02 away (linf)"
        note = f"{start}, the radius is 0.00784314 (1 of {number} images are outside)"
        assert Finding("ball", ATTACKED, "wrong", note) in wrong(run)

    def test_outside_the_box(self, run: RunDir) -> None:
        def change(images: np.ndarray) -> None:
            images[0, 0, 0, 0, 0] = -0.001

        edit_images(run, change)
        assert any(
            f.check == "ball" and f.note.endswith("has pixels outside [0, 1]") for f in wrong(run)
        )

    def test_not_a_number(self, run: RunDir) -> None:
        edit_images(run, lambda images: images.fill(np.nan))
        assert {("ball", ATTACKED), ("images", ATTACKED)} <= {f[:2] for f in wrong(run)}

    def test_that_were_never_attacked(self, run: RunDir, tiny_store: Store) -> None:
        """The unchanged images lie in the ball, but do not give the attacked predictions."""
        with np.load(run.adversarial / f"{ATTACKED}.npz") as saved:
            ids = saved["image_id"].tolist()
        rows = [tiny_store.table["image_id"].tolist().index(name) for name in ids]

        def change(images: np.ndarray) -> None:
            images[:] = (tiny_store.pixels(rows) / 255)[:, None]

        edit_images(run, change)
        assert {f[:3] for f in wrong(run)} == {("images", ATTACKED, "wrong")}

    def test_without_telling_the_receipt(self, run: RunDir) -> None:
        receipt = (run.receipts / f"{ATTACKED}.json").read_bytes()
        edit_images(run, lambda images: images.sort(axis=0))
        (run.receipts / f"{ATTACKED}.json").write_bytes(receipt)
        note = f"adversarial/{ATTACKED}.npz was changed: its SHA-256 is not the receipt's"
        assert Finding("receipt", ATTACKED, "wrong", note) in wrong(run)

    def test_truncated(self, run: RunDir) -> None:
        path = run.adversarial / f"{ATTACKED}.npz"
        path.write_bytes(path.read_bytes()[:1000])
        assert {f.check for f in wrong(run)} == {"ball", "images", "receipt"}

    @pytest.mark.parametrize("known", [True, False])
    def test_gone(self, run: RunDir, known: bool) -> None:
        (run.adversarial / f"{ATTACKED}.npz").unlink()
        if not known:
            edit_json(run.receipts / f"{ATTACKED}.json", adversarial_sha256=None)
        note = f"its adversarial/{ATTACKED}.npz is missing"
        assert wrong(run) == [Finding("receipt", ATTACKED, "wrong", note)]

    def test_some_left_out(self, run: RunDir) -> None:
        path = run.adversarial / f"{ATTACKED}.npz"
        with np.load(path) as saved:
            arrays = {name: saved[name][2:] for name in saved.files}
            number = len(saved["image_id"])
        np.savez_compressed(path, **arrays)
        edit_json(run.receipts / f"{ATTACKED}.json", adversarial_sha256=sha256_of(path))
        note = f"2 of the {number} images that every attack keeps are missing"
        assert wrong(run) == [Finding("images", ATTACKED, "wrong", note)]


class TestSplit:
    @pytest.mark.parametrize(
        ("change", "note"),
        [
            (
                lambda table: table.iloc[:-2],
                "split test has 16 images, of which 2 are missing; 0 others are predicted",
            ),
            (
                lambda table: table.iloc[::-1],
                "the images of split test are in another order than the store's",
            ),
            (lambda table: table.assign(branch="adv"), "rows of another network than single"),
        ],
    )
    @pytest.mark.parametrize("stem", [CLEAN, ATTACKED])
    def test_changed(
        self, run: RunDir, stem: str, change: Callable[[pd.DataFrame], pd.DataFrame], note: str
    ) -> None:
        edit_table(run.predictions / f"{stem}.csv", change)
        found = check_predictions(evidence_of(run), stem)
        assert [f for f in found if f.verdict != "ok"] == [Finding("split", stem, "wrong", note)]

    def test_images_of_another_split(self, run: RunDir) -> None:
        edit_json(run.predictions / f"{CLEAN}.json", split="val")
        found = check_predictions(evidence_of(run), CLEAN)
        note = "split val has 10 images, of which 10 are missing; 16 others are predicted"
        assert Finding("split", CLEAN, "wrong", note) in found


class TestWorstCase:
    """An attack that makes scores better was not the worst case of anything."""

    @pytest.mark.parametrize("label", [0, 1])
    def test_better_than_clean(self, run: RunDir, tiny_store: Store, label: int) -> None:
        clean = pd.read_csv(run.predictions / f"{CLEAN}.csv")
        labels = tiny_store.labels[tiny_store.rows("test"), tiny_store.findings.index("nodule")]
        place = int((labels == label).argmax())
        old = clean["logit:nodule"].tolist()[place]
        new = old + (2 * label - 1)

        def change(table: pd.DataFrame) -> pd.DataFrame:
            table.loc[place, "logit:nodule"] = repr(new)
            return table

        edit_table(run.predictions / f"{ATTACKED}.csv", change)
        note = (
            f"logit:nodule: image {clean['image_id'][place]!r} has {new:.6g}, better than the "
            f"{old:.6g} of the unchanged image (1 of 16 images)"
        )
        found = check_worst(evidence_of(run), ATTACKED, 0.01)
        assert found == [Finding("worst case", ATTACKED, "wrong", note)]
        assert [f.verdict for f in check_worst(evidence_of(run), ATTACKED, 2)] == ["ok"]

    def test_without_a_label_nothing_moves(self, run: RunDir, tiny_store: Store) -> None:
        evidence = evidence_of(run)
        table = tiny_store.table.assign(**{"label:nodule": np.nan})
        evidence.stores[tiny_store.checksum] = replace(tiny_store, table=table)
        (found,) = check_worst(evidence, ATTACKED, 1e-6)
        assert found.verdict == "wrong"
        assert found.note.startswith("logit:nodule: image ")

    def test_better_than_at_a_smaller_radius(self, saved_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(saved_run)
        target = "phantom-test-best-adv-fgsm-l2-0.6-on-adv"
        assert [f.verdict for f in check_worst(evidence_of(run), target, 1e-6)] == ["ok"]
        clean = run.predictions / "phantom-test-best-adv-clean.csv"
        shutil.copy(clean, run.predictions / f"{target}.csv")
        found = check_worst(evidence_of(run), target, 1e-6)
        assert {f.verdict for f in found} == {"wrong"}
        assert all(" at radius 0.3 (" in f.note for f in found)

    def test_clean_ones_are_gone(self, run: RunDir) -> None:
        (run.predictions / f"{CLEAN}.csv").unlink()
        note = "the predictions of the unchanged images are not at hand"
        found = check_worst(evidence_of(run), ATTACKED, 0.01)
        assert found == [Finding("worst case", ATTACKED, "not checked", note)]

    def test_of_attacks_as_they_were_found_alone(self, saved_run: RunDir) -> None:
        evidence = evidence_of(saved_run)
        stems = {stem for stem in evidence.predictions if check_worst(evidence, stem, 0.01)}
        attacked = {stem for stem in evidence.predictions if "-on-" in stem}
        assert stems == {s for s in attacked if "-8bit-" not in s and "-stored-" not in s}


class TestThresholds:
    VALIDATION = "phantom-val-best-single-clean"

    def test_chosen_on_test_images(self, run: RunDir) -> None:
        record = json.loads((run.path / "metrics.json").read_text())
        record["scores"][ATTACKED]["thresholds"] = CLEAN
        edit_json(run.path / "metrics.json", **record)
        note = f"they were chosen by {CLEAN}: expected clean predictions of split val"
        found = check_thresholds(evidence_of(run), ATTACKED)
        assert found[0] == Finding("thresholds", ATTACKED, "wrong", note)
        assert [f.verdict for f in check_thresholds(evidence_of(run), CLEAN)] == ["ok"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("branch", "adv"), ("checkpoint", "last"), ("weights", "0"), ("task", "exclusive")],
    )
    def test_by_another_network(self, run: RunDir, name: str, value: str) -> None:
        edit_json(run.predictions / f"{self.VALIDATION}.json", **{name: value})
        note = f"they were chosen by {self.VALIDATION}, whose {name} is another"
        found = check_thresholds(evidence_of(run), CLEAN)
        assert found == [Finding("thresholds", CLEAN, "wrong", note)]

    def test_on_another_store(self, run: RunDir) -> None:
        edit_json(run.predictions / f"{self.VALIDATION}.json", store_checksum="0")
        note = f"they were chosen by {self.VALIDATION}, whose store is another"
        found = check_thresholds(evidence_of(run), CLEAN)
        assert found == [Finding("thresholds", CLEAN, "wrong", note)]

    def test_on_attacked_images(self, run: RunDir) -> None:
        attack = json.loads((run.predictions / f"{self.VALIDATION}.json").read_text())["attack"]
        edit_json(run.predictions / f"{self.VALIDATION}.json", attack=attack | {"name": "pgd"})
        note = f"they were chosen by {self.VALIDATION}: expected clean predictions of split val"
        for stem in (CLEAN, self.VALIDATION):
            found = check_thresholds(evidence_of(run), stem)
            assert found == [Finding("thresholds", stem, "wrong", note)]

    def test_gone(self, run: RunDir) -> None:
        (run.predictions / f"{self.VALIDATION}.csv").unlink()
        note = f"predictions/{self.VALIDATION}.csv, which chose them, is missing or can't be read"
        found = check_thresholds(evidence_of(run), ATTACKED)
        assert found == [Finding("thresholds", ATTACKED, "wrong", note)]

    def test_other_cuts(self, run: RunDir) -> None:
        path = run.predictions / f"{ATTACKED}.json"
        attack = json.loads(path.read_text())["attack"]
        old = attack["cuts"]["nodule"]
        edit_json(path, attack=attack | {"cuts": attack["cuts"] | {"nodule": old + 0.01}})
        note = f"the attack's cut of nodule is {old + 0.01:.6g}, chosen was {old:.6g}"
        found = check_thresholds(evidence_of(run), ATTACKED)
        assert found == [Finding("thresholds", ATTACKED, "wrong", note)]
        edit_json(path, attack=attack | {"cuts": {"nodule": old}})
        note = "the attack has cuts of nodule"
        found = check_thresholds(evidence_of(run), ATTACKED)
        assert found == [Finding("thresholds", ATTACKED, "wrong", note)]

    @pytest.mark.parametrize("edge", [0.0, 1.0])
    def test_cuts_are_finite(self, edge: float) -> None:
        assert math.isfinite(cuts_of({"nodule": edge})["nodule"])


class TestFlips:
    L2 = "phantom-test-best-adv-fgsm-l2-0.6-on-adv"

    def test_one_cell(self, run: RunDir) -> None:
        old = ""

        def change(table: pd.DataFrame) -> pd.DataFrame:
            nonlocal old
            old = table.loc[3, "nodule"]
            table.loc[3, "nodule"] = "0.5"
            return table

        table = edit_table(run.flips / f"{ATTACKED}.csv", change)
        note = (
            f"nodule of image {table['image_id'][3]!r} is 0.5, the predictions give "
            f"{float(old or 'nan'):.6g} (1 of 16 are off)"
        )
        assert wrong(run) == [Finding("flips", ATTACKED, "wrong", note)]

    def test_every_cell_can_be_off(self, saved_run: RunDir, copy_of: Copy) -> None:
        """0, the two radii and "never" are all told apart."""
        run = copy_of(saved_run)
        path = run.flips / f"{self.L2}.csv"
        values = set(
            pd.read_csv(path, dtype=str, keep_default_na=False).iloc[:, 2:].to_numpy().flat
        )
        assert values >= {"0.0", ""}
        after = {"0.0": "0.3", "0.3": "0.6", "0.6": "", "": "0.0"}
        edit_table(path, lambda table: table.replace(dict.fromkeys(table.columns[2:], after)))
        found = [f for f in check_flips(evidence_of(run)) if f.what == self.L2]
        assert {f.verdict for f in found} == {"wrong"}
        assert all(f.note.endswith("(16 of 16 are off)") for f in found)

    @pytest.mark.parametrize(
        ("change", "note"),
        [
            (lambda table: table.iloc[1:], "its images are not those of the predictions"),
            (
                lambda table: table[["image_id", "patient_id"]],
                "its columns are image_id, patient_id",
            ),
        ],
    )
    def test_another_table(
        self, run: RunDir, change: Callable[[pd.DataFrame], pd.DataFrame], note: str
    ) -> None:
        edit_table(run.flips / f"{ATTACKED}.csv", change)
        assert check_flips(evidence_of(run)) == [Finding("flips", ATTACKED, "wrong", note)]

    def test_of_nothing(self, run: RunDir) -> None:
        for stem in ("other", CLEAN):
            shutil.copy(run.flips / f"{ATTACKED}.csv", run.flips / f"{stem}.csv")
        notes = {f.what: f.note for f in check_flips(evidence_of(run)) if f.verdict == "wrong"}
        assert notes == {
            "other": "its predictions/other.csv is missing or can't be read",
            CLEAN: "its predictions are not of the attacked network",
        }

    @pytest.mark.parametrize(("away", "verdicts"), [(1e-6, {"ok"}), (0.1, {"ok", "wrong"})])
    def test_unchanged_images_near_the_cut(
        self, run: RunDir, away: float, verdicts: set[str]
    ) -> None:
        """Other batches may have decided them otherwise."""
        evidence = evidence_of(run)
        cut = evidence.told(ATTACKED).sidecar["attack"]["cuts"]["nodule"]
        found = []
        for score in (cut - away, cut + away):
            evidence.told(CLEAN).frame.loc[3, "logit:nodule"] = score
            found += check_flips(evidence)
        assert {f.verdict for f in found} == verdicts

    def test_a_smaller_radius_is_gone(self, saved_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(saved_run)
        (run.predictions / "phantom-test-best-adv-fgsm-l2-0.3-on-adv.csv").unlink()
        note = "the predictions at radius 0.3 are not at hand"
        found = check_flips(evidence_of(run))
        assert Finding("flips", self.L2, "not checked", note) in found


class TestNumbers:
    def change(self, run: RunDir, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        table = pd.read_csv(run.metrics, dtype=str, keep_default_na=False)
        change(table).to_csv(run.metrics, index=False)

    def place(self, table: pd.DataFrame) -> int:
        chosen = (table["predictions"] == ATTACKED) & (table["finding"] == "macro")
        chosen &= (table["metric"] == "auroc") & (table["group"] == "all")
        (index,) = table.index[chosen]
        return int(index)

    @pytest.mark.parametrize("column", ["value", "low", "high", "n", "eps", "branch"])
    def test_one_edited(self, run: RunDir, column: str) -> None:
        old = ""

        def change(table: pd.DataFrame) -> pd.DataFrame:
            nonlocal old
            place = self.place(table)
            old = table.loc[place, column]
            table.loc[place, column] = "99"
            return table

        self.change(run, change)
        (found,) = wrong(run)
        shown = "99.0" if column in ("value", "low", "high", "eps") else "99"
        note = f"{column} of auroc of macro (bootstrap) is {shown}, the predictions give {old}"
        assert found == Finding("metrics", ATTACKED, "wrong", note)

    def test_the_last_digits_count(self, run: RunDir) -> None:
        def change(table: pd.DataFrame) -> pd.DataFrame:
            place = self.place(table)
            table.loc[place, "value"] = repr(float(table.loc[place, "value"]) + 1e-11)
            return table

        self.change(run, change)
        assert [f.check for f in wrong(run)] == ["metrics"]

    def test_row_deleted(self, run: RunDir) -> None:
        self.change(run, lambda table: table.drop(index=self.place(table)))
        note = "the row of auroc of macro (bootstrap) is missing"
        assert wrong(run) == [Finding("metrics", ATTACKED, "wrong", note)]

    def test_row_doubled(self, run: RunDir) -> None:
        self.change(run, lambda table: pd.concat([table, table.loc[[self.place(table)]]]))
        note = "a row of auroc of macro (bootstrap, copy 1) that the predictions do not give"
        assert wrong(run) == [Finding("metrics", ATTACKED, "wrong", note)]

    def test_row_added(self, run: RunDir) -> None:
        self.change(
            run,
            lambda table: pd.concat(
                [table, table.loc[[self.place(table)]].assign(predictions="other")]
            ),
        )
        note = "1 rows that metrics.json does not know of"
        assert wrong(run) == [Finding("metrics", "other", "wrong", note)]

    def test_threshold_edited(self, run: RunDir) -> None:
        def change(table: pd.DataFrame) -> pd.DataFrame:
            chosen = (table["metric"] == "threshold") & (table["branch"] == "single")
            table.loc[table.index[chosen][0], "value"] = "0.25"
            return table

        self.change(run, change)
        (found,) = wrong(run)
        assert found.what == "phantom-val-best-single-clean/thresholds"
        assert "value of threshold of nodule is 0.25, the predictions give " in found.note

    def test_all_rows_of_a_file_deleted_with_their_record(self, run: RunDir) -> None:
        self.change(run, lambda table: table[table["predictions"] != ATTACKED])
        record = json.loads((run.path / "metrics.json").read_text())
        del record["scores"][ATTACKED]
        edit_json(run.path / "metrics.json", **record)
        note = "it has no rows in metrics.csv; run `evaluate` again"
        assert wrong(run) == [Finding("metrics", ATTACKED, "wrong", note)]

    @pytest.mark.parametrize("text", ["", "{", '{"scores": 1}'])
    def test_damaged_record(self, run: RunDir, text: str) -> None:
        (run.path / "metrics.json").write_text(text)
        (found,) = wrong(run)
        assert found[:3] == ("metrics", "metrics.json", "wrong")
        assert found.note == (
            f"{run.path / 'metrics.json'}: expected how the numbers of metrics.csv were computed, "
            "found something else; run `evaluate` again"
        )

    def test_no_table(self, run: RunDir) -> None:
        run.metrics.unlink()
        notes = {f.note for f in wrong(run)}
        assert notes == {"it has no rows, since there is no metrics.csv"}

    def test_other_redraws_and_groups_are_remembered(
        self, standard_run: RunDir, copy_of: Copy
    ) -> None:
        run = copy_of(standard_run)
        evaluate(run, what=Evaluation(eps=(), redraws=150, groups=("view",)))
        assert wrong(run) == []
        record = json.loads((run.path / "metrics.json").read_text())["scores"][CLEAN]
        assert record == {
            "thresholds": "phantom-val-best-single-clean",
            "redraws": 150,
            "seed": 0,
            "points": True,
            "groups": ["view"],
        }


class TestWeights:
    def replace(self, run: RunDir) -> None:
        saved = checkpoints.load(run.checkpoints, "best")
        saved.tensors["bn1.weight"][0] += 1
        checkpoints.save(run.checkpoints, "best", saved)

    def test_replaced(self, run: RunDir) -> None:
        self.replace(run)
        found = wrong(run)
        note = "checkpoint best does not have the weights that made it; run `evaluate` again"
        assert Finding("weights", ATTACKED, "wrong", note) in found
        assert Finding("weights", CLEAN, "wrong", note) in found
        unchecked = [f for f in found if f.verdict == "not checked"]
        assert {f.note for f in unchecked} == {"checkpoint best has other weights"}
        assert {f.check for f in unchecked} == {"images"}

    def test_older_ones_of_a_training_that_goes_on(self, run: RunDir) -> None:
        self.replace(run)
        (run.path / "DONE").unlink()
        found = wrong(run)
        assert {f.verdict for f in found} == {"not checked"}
        note = "made with older weights of checkpoint best; run `evaluate` again"
        assert Finding("weights", ATTACKED, "not checked", note) in found

    def test_older_ones_without_numbers(self, run: RunDir) -> None:
        """After another evaluation `metrics.csv` claims nothing of the older predictions."""
        self.replace(run)
        evaluate(run, what=Evaluation(suite="fgsm", groups=(), redraws=100))
        found = wrong(run)
        assert {f.verdict for f in found} == {"not checked"}
        assert {f.what for f in found} == {ATTACKED}
        assert Finding("metrics", ATTACKED, *UNSCORED) in found

    def test_gone(self, run: RunDir) -> None:
        (run.checkpoints / "best.safetensors").unlink()
        found = wrong(run)
        assert {f.verdict for f in found} == {"not checked"}
        assert {f.check for f in found} == {"weights", "images"}
        assert {f.note for f in found} == {"checkpoint best is not at hand"}

    def test_damaged(self, run: RunDir) -> None:
        path = run.checkpoints / "best.safetensors"
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
        found = [f for f in wrong(run) if f.verdict == "wrong"]
        assert {f.check for f in found} == {"weights"}
        assert "is damaged" in found[0].note

    def test_of_last_the_running_average_counts(self, standard_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(standard_run)
        evaluate(run, what=Evaluation(checkpoint="last", groups=(), redraws=100))
        assert wrong(run) == []


class TestStores:
    def moved(self, run: RunDir, path: Path) -> None:
        settings = yaml.safe_load((run.path / "config.yaml").read_text())
        settings["data"]["store"] = str(path)
        (run.path / "config.yaml").write_text(yaml.safe_dump(settings))

    def test_gone(self, run: RunDir, tmp_path: Path) -> None:
        self.moved(run, tmp_path / "nowhere")
        found = wrong(run)
        assert {f.verdict for f in found} == {"not checked"}
        place = tmp_path / "nowhere"
        note = f"there is nothing at {place}; name the training store with --store"
        assert found[0] == Finding("store", "phantom", "not checked", note)
        others = [f for f in found if f.check != "store"]
        assert {f.check for f in others} == {
            *("split", "images", "ball", "worst case", "thresholds", "flips", "receipt", "metrics")
        }
        assert len({f.note for f in others}) == 1
        assert others[0].note.startswith("store phantom (checksum ")
        assert others[0].note.endswith(") is not at hand")

    def test_at_another_place(self, run: RunDir, tiny_store: Store, tmp_path: Path) -> None:
        self.moved(run, tmp_path / "nowhere")
        assert wrong(run, tiny_store) == []

    def test_another_one_in_its_place(
        self, run: RunDir, other_store: Store, tiny_store: Store
    ) -> None:
        self.moved(run, other_store.path)
        (first, *_) = wrong(run)
        assert first[:3] == ("store", "phantom", "wrong")
        assert "expected the store this run was trained on" in first.note

    def test_one_pixel_changed(self, run: RunDir, tiny_store: Store, tmp_path: Path) -> None:
        shutil.copytree(tiny_store.path, tmp_path / "store")
        path = tmp_path / "store" / "images.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        self.moved(run, tmp_path / "store")
        found = [f for f in wrong(run) if f.verdict == "wrong"]
        assert [f[:3] for f in found] == [("store", "phantom", "wrong")]
        assert "images.npy was changed after the store was made" in found[0].note

    def test_an_external_one(self, standard_run: RunDir, copy_of: Copy, other_store: Store) -> None:
        run = copy_of(standard_run)
        evaluate(run, other_store, Evaluation(groups=(), redraws=100))
        assert wrong(run, other_store) == []
        found = wrong(run)
        assert {f.verdict for f in found} == {"not checked"}
        name = f"phantom-{other_store.checksum[:8]}"
        assert (found[0].check, found[0].what) == ("store", name)
        assert found[0].note == (
            f"no store with checksum {other_store.checksum[:12]} is at hand; name it with --store"
        )

    def test_one_that_was_never_evaluated(self, run: RunDir, other_store: Store) -> None:
        note = "no predictions are of this store"
        assert wrong(run, other_store) == [
            Finding("store", str(other_store.path), "not checked", note)
        ]


class TestKinds:
    """Everything that `evaluate` can write."""

    def test_untouched(self, saved_run: RunDir) -> None:
        findings = verify(saved_run)
        unchecked = [f for f in findings if f.verdict != "ok"]
        assert {f.note for f in unchecked} == {NO_CHECK}
        assert not any("native" in f.what for f in unchecked)
        checked = {f.check for f in findings}
        assert {"saved images", "ball"} <= checked
        assert any("-l1-native-" in f.what for f in findings if f.check == "ball")
        assert any("-l2-" in f.what for f in findings if f.check == "ball")
        assert any("corruption-blur" in f.what for f in findings if f.check == "images")

    def test_a_smaller_native_radius(self, saved_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(saved_run)
        (path,) = run.receipts.glob("*-adv-fgsm-l1-native-*.json")
        for folder in (run.receipts, run.predictions):
            edit_json(
                folder / path.name,
                attack=json.loads(path.read_text())["attack"] | {"eps": 499.0},
            )
        assert any(f[:3] == ("ball", path.stem, "wrong") for f in wrong(run))

    def test_one_saved_file(self, saved_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(saved_run)
        path = sorted(run.adversarial.glob("*-adv-fgsm-*/8/0/*.png"))[0]
        with Image.open(path) as image:
            black = Image.new(image.mode, image.size)
        black.save(path)
        rounded, shown = wrong(run)
        for found in (rounded, shown):
            assert found.check == "saved images"
            assert "-fgsm-8bit-" in found.what
            assert found.note.endswith("(1 of 16 images are off)")
        path.unlink()
        (found,) = wrong(run)
        assert found.note.endswith("found no such file; write the images again")

    @pytest.mark.parametrize(("depth", "half"), [("8bit", 0.5 / 255), ("stored", 0.5 / 4095)])
    def test_one_level_of_one_pixel(
        self, saved_run: RunDir, copy_of: Copy, depth: str, half: float
    ) -> None:
        """Too little for the network to notice."""
        run = copy_of(saved_run)
        evidence = evidence_of(run)
        (stem, *_) = (s for s in evidence.predictions if f"fgsm-{depth}" in s and "-on-adv" in s)
        (found,) = check_saved(evidence, stem, 0.01, 16)
        assert found.verdict == "ok"
        source, folder = stem.replace(f"-{depth}", ""), depth.removesuffix("bit")
        path = sorted((run.adversarial / source / folder / "0").glob("*.png"))[0]
        with Image.open(path) as image:
            pixels = np.array(image)
        pixels[5, 5] = pixels[5, 5] + 1 if pixels[5, 5] < 128 else pixels[5, 5] - 1
        Image.fromarray(pixels).save(path)
        (found,) = check_saved(evidence, stem, 0.01, 16)
        assert found.verdict == "wrong"
        assert found.note.startswith("slot 0: image ")
        assert f"from the attacked one, half a level is {half:.6g} (1 of 16" in found.note

    def test_other_saved_images(self, saved_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(saved_run)
        path = sorted(run.adversarial.glob("*-adv-fgsm-*/8/1/images.csv"))[0]
        edit_table(path, lambda table: table.assign(image_id=table["image_id"][::-1].to_numpy()))
        evidence, stem = evidence_of(run), path.parents[2].name.replace("fgsm", "fgsm-8bit")
        (found,) = check_saved(evidence, stem, 0.01, 16)
        assert found.note == f"{path.parent} holds other images than were predicted"

    def test_trust(self, dual_run: RunDir, copy_of: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
        run, check = copy_of(dual_run), Check("masking", 1.0, 1.0, "pass", "")
        monkeypatch.setattr("medrobust.trusted.check_trust", lambda *given, **settings: [check])
        evaluate(run, what=Evaluation(groups=(), redraws=100, trust_images=4))
        assert wrong(run) == []
        honest = run.trust.read_text()
        run.trust.write_text(honest.replace("masking,1.0,", "masking,0.5,", 1))
        assert [f.note for f in wrong(run)] == ["trust.csv says other things than the receipt"]
        run.trust.write_text(
            honest.replace("masking,1.0,1.0,pass,", "masking,1.0,1.0,pass,fine", 1)
        )
        assert [f.note for f in wrong(run)] == ["trust.csv says other things than the receipt"]
        run.trust.write_text(honest)
        self.change_trust(run)
        start, images = "phantom-test-best", len(stratified_rows(run.training_store(), "test", 4))
        assert wrong(run) == [
            Finding(
                *("trust", f"{start}-adv-trust-linf-0.00784314", "wrong"),
                f"trust.csv says n = 400, the receipt names {images} images",
            ),
            Finding("trust", f"{start}-clean-linf-{EPS}", "wrong", NO_RECEIPT),
        ]
        run.trust.unlink()
        note = "trust.csv has no rows of it"
        name = f"{start}-adv-trust-linf-0.00784314"
        assert wrong(run) == [Finding("trust", name, "wrong", note)]

    def change_trust(self, run: RunDir) -> None:
        table = pd.read_csv(run.trust, dtype=str, keep_default_na=False)
        table.loc[table["branch"] == "adv", "n"] = "400"
        table.to_csv(run.trust, index=False)
        (run.receipts / "phantom-test-best-clean-trust-linf-0.00784314.json").unlink()

    def test_exclusive_classes(
        self, configure: Callable[..., Any], tiny_store: Store, tmp_path: Path
    ) -> None:
        store, config = exclusive(tiny_store), configure("standard")
        run = run_directory(config, tmp_path)
        train(config, store, run)
        evaluate(run, store, Evaluation(groups=(), redraws=100, save="16"))
        assert wrong(run, store) == []
        path = next(run.predictions.glob("*-pgd-linf-*-on-single.csv"))
        frame = pd.read_csv(path, dtype=str)
        frame["class_margin"] = "5.0"
        frame.to_csv(path, index=False)
        assert any(
            f[:2] == ("images", path.stem) and f.note.startswith("class_margin: image")
            for f in wrong(run, store)
        )
        (found,) = check_worst(evidence_of(run, store), path.stem, 0.01)
        assert found.note.startswith("class_margin: image")
        assert "has 5, better than the " in found.note


def exclusive(store: Store) -> Store:
    """Three classes that exclude each other, cut from the images' numbers."""
    kept = [name for name in store.table if not name.startswith("label:")]
    numbers = np.arange(len(store.table)) % 3
    labels = {f"label:{name}": (numbers == k) * 1.0 for k, name in enumerate("abc")}
    info = store.info.model_copy(update={"task": "exclusive"})
    return replace(store, table=store.table[kept].assign(**labels), info=info)


class TestCommand:
    def call(self, monkeypatch: pytest.MonkeyPatch, *words: Any) -> int:
        monkeypatch.setattr(sys, "argv", ["medrobust", "verify", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    def test_untouched(
        self, quick_run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.call(monkeypatch, quick_run.path) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.splitlines() == [
            str(quick_run.path),
            "  store        1 ok",
            "  predictions  4 ok",
            "  split        4 ok",
            "  weights      4 ok",
            "  images       4 ok",
            "  thresholds   4 ok",
            "  ball         1 ok",
            "  worst case   1 ok",
            "  flips        1 ok",
            "  receipt      1 ok",
            "  trust        1 not checked",
            "  metrics      4 ok",
            f"  not checked: trust: phantom-test-best-single-linf: {NO_CHECK}",
        ]

    def test_something_wrong(
        self, run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (run.receipts / f"{ATTACKED}.json").unlink()
        assert self.call(monkeypatch, run.path) == 1
        out = capsys.readouterr().out.splitlines()
        assert "  receipt      1 wrong" in out
        note = f"attacked predictions without receipts/{ATTACKED}.json"
        assert f"  wrong: receipt: {ATTACKED}: {note}" in out

    def test_other_things_not_checked_are_no_failure(
        self, run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (run.checkpoints / "best.safetensors").unlink()
        assert self.call(monkeypatch, run.path) == 0
        assert "  weights      4 not checked" in capsys.readouterr().out.splitlines()

    def test_a_stricter_tolerance(
        self, run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.call(monkeypatch, run.path, "--tolerance", "1e-4") == 0

    def test_not_evaluated(
        self, dual_run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.call(monkeypatch, dual_run.path) == 0
        assert capsys.readouterr().out.splitlines() == [
            str(dual_run.path),
            "  nothing to check: `medrobust evaluate` has not been run",
        ]

    def test_no_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.call(monkeypatch, tmp_path) == 1
        assert "expected a run directory" in capsys.readouterr().err
