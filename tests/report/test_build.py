import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fake_runs
import pandas as pd
import pytest
from fake_runs import AWKWARD, Workplace
from pages import outline, text_of

import medrobust
from medrobust.errors import MedrobustError
from medrobust.report import build_report

SECTIONS = [
    *("summary", "warnings", "runs", "data", "results"),
    *("robustness", "decisions", "groups"),
    *("figures", "explanations", "gallery", "methods"),
]


def test_tags_are_balanced_and_ids_unique(page: str) -> None:
    found = outline(page)
    assert found.problems == []
    assert found.open == []
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_sections_stand_in_order_and_the_contents_lead_to_them(page: str) -> None:
    found = outline(page)
    ids = [a["id"] for tag, a in found.tags if tag in ("section", "header") and "id" in a]
    assert ids == SECTIONS
    targets = {a["href"] for a in found.all("a")}
    assert targets == {f"#{name}" for name in ["content", *SECTIONS]}


def test_nothing_is_loaded_from_outside(page: str) -> None:
    found = outline(page)
    assert not found.all("script") + found.all("link") + found.all("iframe") + found.all("object")
    for _, attributes in found.tags:
        for name in ("src", "href", "srcset", "xlink:href", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert not re.search(r"url\(|@import|https?://", page)
    policy = next(a["content"] for a in found.all("meta") if "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_figures_inside_load_nothing_either(page: str) -> None:
    drawings = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    # sweep, ROC of macro and 3 findings twice, learning curves, reliability and net benefit of
    # all findings twice and each once
    assert len(drawings) == 1 + 8 + 4 + 5 + 5
    for drawing in drawings:
        svg = base64.b64decode(drawing).decode()
        assert not re.search(r"(href|src)=\"(?!#)|@import|url\((?!#)", svg)


def test_pictures_have_words_and_tables_headings(page: str) -> None:
    found = outline(page)
    assert all(a.get("alt") for a in found.all("img"))
    drawn = [a for a in found.all("svg") if a.get("aria-hidden") != "true"]
    assert drawn
    assert all(a.get("role") == "img" and a.get("aria-label") for a in drawn)
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in found.all("th"))
    assert page.count("<caption>") == page.count("<table>") > 8


def test_names_are_escaped(page: str) -> None:
    assert "<title>Blobs &lt;i&gt;&amp;&lt;/i&gt; noise</title>" in page
    assert "Mass &lt;b&gt;&amp;co" in page
    assert AWKWARD not in page
    assert not outline(page).all("b") + outline(page).all("i")


def test_settings_and_commands_are_escaped(
    workplace: Workplace, one_run: Callable, tmp_path: Path
) -> None:
    run = one_run("standard")
    provenance = json.loads((run / "provenance.json").read_text())
    provenance["command"] = ["medrobust", "train", "<script>alert(1)</script>"]
    provenance["device"] = "</td><img src=x onerror=alert(1)>"
    (run / "provenance.json").write_text(json.dumps(provenance))
    config = (run / "config.yaml").read_text().replace("name: standard", "name: </pre><script>x")
    (run / "config.yaml").write_text(config)
    build_report([run], tmp_path / "out.html")
    found = outline((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert found.problems == []
    assert not found.all("script")
    assert not [a for a in found.all("img") if "onerror" in a]


def test_numbers_of_metrics_appear(workplace: Workplace, page: str) -> None:
    words = text_of(page)
    for run in ("standard/0", "adversarial/0", "dual/0", "dual/1"):
        table = pd.read_csv(workplace.runs / run / "metrics.csv", keep_default_na=False)
        rows = table[(table["metric"] == "auroc") & (table["split"] == "test")]
        for row in rows.astype({"value": float, "low": float, "high": float}).itertuples():
            if row.interval == "bootstrap" and (row.finding == "macro" or not row.attack):
                assert f"{row.value:.3f} {row.low:.3f}–{row.high:.3f}" in words


def test_summary_names_images_patients_branches_and_chance(page: str) -> None:
    words = text_of(page)
    assert "On 80 test images of 40 patients (Blobs &amp; noise), standard reaches" in words
    assert "the clean branch of dual 0." in words
    assert "Under PGD, ε = 4/255 (20 steps), with each attack made through the very branch" in words
    assert "By how much each model beats chance: macro AUROC minus 0.5" in words
    assert "On clean images, the clean branch of dual is worse than standard by" in words or (
        "On clean images, no difference can be seen between the clean branch of dual" in words
    )


def test_seeds_are_summarised_apart(page: str) -> None:
    words = text_of(page)
    assert "2 seeds" in words
    assert re.search(r"0\.\d{3} ± 0\.\d{3}", words)


def test_the_same_runs_give_the_same_bytes(workplace: Workplace, tmp_path: Path) -> None:
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for out in pages:
        build_report([workplace.runs / "standard"], out)
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_good_runs_have_no_warnings(workplace: Workplace, tmp_path: Path) -> None:
    assert build_report([workplace.runs / "dual"], tmp_path / "out.html") == []


def test_a_run_without_later_stages(one_run: Callable, tmp_path: Path) -> None:
    run = one_run("dual")
    for folder in ("predictions", "adversarial", "explain"):
        shutil.rmtree(run / folder)
    (run / "metrics.csv").unlink()
    (run / "DONE").unlink()
    warnings = build_report([run], tmp_path / "out.html")
    assert warnings == [
        "Training has not finished (no DONE): dual, seed 0.",
        "Not evaluated yet, run `medrobust evaluate`: dual, seed 0.",
    ]
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert outline(page).problems == []
    assert "run <code>medrobust evaluate</code>: dual, seed 0." in page
    words = text_of(page)
    assert "There are no test results yet: run medrobust evaluate RUN ." in words
    assert "Saliency maps have not been scored: run medrobust explain RUN ." in words
    assert "Blobs &amp; noise" in words
    assert "data:image/svg+xml" in page  # learning curves


def test_a_run_without_files_of_predictions(one_run: Callable, tmp_path: Path) -> None:
    run = one_run("dual")
    shutil.rmtree(run / "predictions")
    shutil.rmtree(run / "adversarial")
    build_report([run], tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert outline(page).problems == []
    assert "no attacked image" in page
    assert "Paired comparisons need two models" in page


def test_a_lost_store(one_run: Callable, tmp_path: Path) -> None:
    run = one_run("dual")
    for name in ("provenance.json", "config.yaml"):
        text = (run / name).read_text()
        (run / name).write_text(re.sub(r"/\S+/store", "/nowhere/at/all", text))
    warnings = build_report([run], tmp_path / "out.html")
    assert len(warnings) == 1
    assert warnings[0].startswith("The store of the runs could not be opened (")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert outline(page).problems == []
    words = text_of(page)
    assert "so there is no data card" in words
    assert "ROC curves need the labels of the store" in words
    assert "The gallery needs the store" in words
    assert "On 80 test images of 40 patients (blobs)" in words


def test_volumes_and_unknown_patients(tmp_path: Path) -> None:
    blobs = fake_runs.Blobs(("Nodule",), 160, 24, depth=6, patients="unknown")
    store = fake_runs.write_store(tmp_path / "store", blobs)
    fake_runs.write_run(tmp_path / "runs", store, "dual", redraws=100)
    warnings = build_report([tmp_path / "runs" / "dual"], tmp_path / "out.html")
    assert any(warning.startswith("Patients are not known") for warning in warnings)
    words = text_of((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert "6 × 24 × 24, grey, 8 bits (volumes)" in words
    assert "Of each volume the middle slice is drawn" in words
    assert "patients (Blobs" not in words


def test_colour_images(tmp_path: Path) -> None:
    blobs = fake_runs.Blobs(("Nodule",), 160, 24, channels=3)
    store = fake_runs.write_store(tmp_path / "store", blobs)
    fake_runs.write_run(tmp_path / "runs", store, "standard", redraws=100)
    build_report([tmp_path / "runs" / "standard"], tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "24 × 24, 3 channels, 8 bits (images)" in text_of(page)
    assert "perturbation × 31" in page


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^expected at least one run directory, found none"):
        build_report([], tmp_path / "out.html")
    assert list(tmp_path.iterdir()) == []


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match="expected a run directory"):
        build_report([tmp_path], tmp_path / "out.html")


def test_no_folder_for_the_report(workplace: Workplace, tmp_path: Path) -> None:
    out = tmp_path / "not" / "there.html"
    text = f"expected an existing folder for the report, found no {out.parent}; make it first"
    with pytest.raises(MedrobustError, match=f"^{re.escape(text)}$"):
        build_report(workplace.paths, out)


def test_torch_is_never_imported(workplace: Workplace, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from medrobust.report import build_report; "
        "build_report([Path(sys.argv[1])], Path(sys.argv[2])); assert 'torch' not in sys.modules"
    )
    source = str(Path(medrobust.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code, str(workplace.runs / "standard"), str(tmp_path / "out.html")],
        check=True,
        env=os.environ | {"PYTHONPATH": source},
    )
    assert (tmp_path / "out.html").stat().st_size > 50_000
