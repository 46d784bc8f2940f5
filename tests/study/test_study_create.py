import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.stats import spearmanr

from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.phantom import Phantom
from medrobust.errors import MedrobustError
from medrobust.explain.maps import write_maps
from medrobust.files import sha256_of
from medrobust.rundir import RunDir
from medrobust.study.boxes import boxes_of
from medrobust.study.config import StudyConfig
from medrobust.study.create import create_study
from medrobust.study.maps import Source, sources
from medrobust.study.pictures import DATE, overlay

FINDINGS = ("consolidation", "effusion")
SECRET = bytes(range(32))
SETTINGS: Mapping[str, Any] = {
    "title": "Which maps help?",
    "readers": 3,
    "split": "train",
    "findings": FINDINGS,
    "conditions": [
        {"name": "Plain", "run": "standard/0"},
        {"name": "Twin one", "run": "dual", "branch": "clean"},
        {"name": "Twin two", "run": "dual", "branch": "adv", "method": "grad-cam"},
    ],
    "cases": {"count": 12, "negatives": 0.25, "practice": 2},
    "repeats": {"share": 0.1, "gap": 3},
}
PLACES = (("standard", "single", "gradient"), ("dual", "clean", "gradient"))
PLACES += (("dual", "adv", "grad-cam"),)

Json = dict[str, Any]


def drawn(kind: int, row: int) -> np.ndarray:
    """Rough, smooth and one-sided maps, which compress very differently."""
    noise = np.random.default_rng(row).normal(size=(32, 32))
    hill = np.outer(np.hanning(32), np.hanning(32))
    return (noise, hill * (row + 1), np.clip(hill - 0.5, 0, None) * 1e3)[kind].astype(np.float32)


def settings(**changes: Any) -> StudyConfig:
    return StudyConfig.model_validate({**SETTINGS, **changes})


@pytest.fixture(scope="module")
def runs(
    standard_run: RunDir,
    dual_run: RunDir,
    tiny_store: Store,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[RunDir]:
    """Runs with maps of every image of train; nothing may change them."""
    root = tmp_path_factory.mktemp("mapped")
    for run in (standard_run, dual_run):
        target = root / run.config().name / "0"
        target.mkdir(parents=True)
        for name in ("config.yaml", "provenance.json"):
            (target / name).write_bytes((run.path / name).read_bytes())
    for kind in range(3):
        write(tiny_store, root, kind)
    return [RunDir(root / "standard" / "0"), RunDir(root / "dual" / "0")]


def write(store: Store, root: Path, kind: int) -> None:
    name, branch, method = PLACES[kind]
    folder = root / name / "0" / "explain" / "maps" / "phantom" / "train" / branch / method
    rows = store.rows("train")
    ids = [str(identity) for identity in store.table["image_id"].iloc[rows]]
    for finding in FINDINGS:
        maps = np.stack([drawn(kind, int(row)) for row in rows])
        write_maps(folder / f"{finding}.npz", ids, maps)


@pytest.fixture(scope="module")
def study(runs: list[RunDir], tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study; nothing may change it."""
    out = tmp_path_factory.mktemp("studies") / "study"
    create_study(settings(), runs, tiny_store, out, secret=SECRET)
    return out


def read(study: Path, name: str) -> Json:
    return dict(json.loads((study / name).read_text()))


def open_files(study: Path) -> list[Path]:
    """All files outside `sealed`."""
    return [p for p in study.rglob("*") if p.is_file() and "sealed" not in p.parts]


def test_files_are_those_of_the_contract(study: Path) -> None:
    names = {path.name for path in study.iterdir()}
    assert names == {"study.yaml", "items.json", "order.json", "pictures", "sealed"}
    assert [path.name for path in (study / "sealed").iterdir()] == ["key.json"]


def test_the_key_is_for_its_owner_only(study: Path) -> None:
    assert stat.S_IMODE((study / "sealed").stat().st_mode) == 0o700
    assert stat.S_IMODE((study / "sealed" / "key.json").stat().st_mode) == 0o600


def test_the_study_says_what_is_asked(study: Path) -> None:
    told = yaml.safe_load((study / "study.yaml").read_text())
    assert list(told) == [
        *("version", "title", "medrobust", "created", "readers", "questions", "blocks"),
        *("washout_days", "back", "idle_seconds", "picture", "key_sha256"),
    ]
    assert told["readers"] == ["reader-1", "reader-2", "reader-3"]
    assert told["blocks"] == 3
    assert told["picture"] == {"width": 32, "height": 32, "deep": False}
    assert told["key_sha256"] == sha256_of(study / "sealed" / "key.json")
    assert told["questions"] == [q.model_dump(mode="json") for q in settings().questions]


def test_items_order_and_key_are_of_the_same_items(study: Path) -> None:
    items = read(study, "items.json")["items"]
    key = read(study, "sealed/key.json")["items"]
    ordered = [
        name
        for reading in read(study, "order.json")["readers"].values()
        for name in (*reading["practice"], *(n for block in reading["blocks"] for n in block))
    ]
    assert sorted(ordered) == list(items) == sorted(key)
    assert len(set(ordered)) == len(ordered) == 3 * (2 + 3 * 12 + 4)


def test_the_key_follows_the_order(study: Path) -> None:
    key = read(study, "sealed/key.json")["items"]
    items = read(study, "items.json")["items"]
    for reader, reading in read(study, "order.json")["readers"].items():
        blocks = [("practice", None, name) for name in reading["practice"]]
        blocks += [("", b, n) for b, block in enumerate(reading["blocks"], 1) for n in block]
        for position, (practice, block, name) in enumerate(blocks, 1):
            entry = key[name]
            assert (entry["reader"], entry["position"], entry["block"]) == (reader, position, block)
            assert entry["practice"] == items[name]["practice"] == bool(practice)


def test_repeats_are_the_same_pictures_under_another_name(study: Path) -> None:
    key = read(study, "sealed/key.json")["items"]
    items = read(study, "items.json")["items"]
    repeats = {name: entry for name, entry in key.items() if entry["repeat_of"]}
    assert Counter(entry["reader"] for entry in repeats.values()) == {
        f"reader-{number}": 4 for number in (1, 2, 3)
    }
    for name, entry in repeats.items():
        first = key[entry["repeat_of"]]
        assert items[name] == items[entry["repeat_of"]]
        assert entry["position"] >= first["position"] + 3
        same = ("reader", "block", "case", "condition", "finding", "truth")
        assert [entry[field] for field in same] == [first[field] for field in same]


def test_truth_and_patients_are_those_of_the_store(study: Path, tiny_store: Store) -> None:
    table = tiny_store.table.set_index("image_id")
    key = read(study, "sealed/key.json")["items"].values()
    for entry in key:
        row = table.loc[entry["image_id"]]
        assert row["split"] == "train"
        assert row[f"label:{entry['finding']}"] == entry["truth"]
        assert row["patient_id"] not in json.dumps(entry["patient"] + entry["case"])
    main = {(e["case"], e["finding"], e["truth"]) for e in key if not e["practice"]}
    assert Counter((finding, truth) for _, finding, truth in main) == {
        ("consolidation", 1): 4,
        ("consolidation", 0): 2,
        ("effusion", 1): 5,
        ("effusion", 0): 1,
    }
    assert len({entry["patient"] for entry in key}) == len({e["case"] for e in key}) == 14


def test_every_item_shows_its_image_and_map(study: Path, tiny_store: Store) -> None:
    rows = {str(name): row for row, name in enumerate(tiny_store.table["image_id"])}
    kinds = {"Plain": 0, "Twin one": 1, "Twin two": 2}
    key, items = read(study, "sealed/key.json")["items"], read(study, "items.json")["items"]
    for name, entry in list(key.items())[::7]:
        row = rows[entry["image_id"]]
        image = np.asarray(Image.open(study / "pictures" / items[name]["image"]))
        assert np.array_equal(image, tiny_store.images[row, 0])
        values = drawn(kinds[entry["condition"]], row)
        stored = (values / np.abs(values).max()).astype(np.float16).astype(np.float32)
        assert (study / "pictures" / items[name]["map"]).read_bytes() == overlay(stored)


def test_only_what_is_shown_is_drawn(study: Path) -> None:
    items = read(study, "items.json")["items"].values()
    named = {item[kind] for item in items for kind in ("image", "map")}
    assert {path.name for path in (study / "pictures").iterdir()} == named
    assert len(named) == 14 + 3 * 14


def test_nothing_outside_the_seal_tells_what_an_item_is(study: Path, tiny_store: Store) -> None:
    secrets = {"standard", "dual", "clean", "adv", "single", "gradient", "grad-cam", "phantom"}
    secrets |= {"plain", "twin", "condition", "truth", "repeat_of", "case-0", "patient"}
    secrets |= {str(name).casefold() for name in tiny_store.table["image_id"]}
    secrets |= {str(tiny_store.path).casefold(), tiny_store.checksum, SECRET.hex()}
    for path in open_files(study):
        content = path.read_bytes().decode("latin-1").casefold() + path.name
        assert [secret for secret in secrets if secret in content] == [], path.name


def test_nothing_of_the_files_tells_a_condition_or_the_truth(study: Path) -> None:
    """Size, date, and the order of names, of items and of pictures."""
    key, items = read(study, "sealed/key.json")["items"], read(study, "items.json")["items"]
    conditions = sorted({entry["condition"] for entry in key.values()})
    for kind in ("image", "map"):
        files = [study / "pictures" / items[name][kind] for name in key]
        assert len({path.stat().st_size for path in files}) == 1
        assert {path.stat().st_mtime for path in files} == {DATE}
    maps = {items[name]["map"]: entry for name, entry in key.items()}
    images = {items[name]["image"]: entry for name, entry in key.items()}
    limit = 3.3  # standard errors of a rank correlation; of a fixed secret, so that it stays
    for named in (key, maps, images):
        ordered = [named[name] for name in sorted(named)]
        for trait in (
            [conditions.index(entry["condition"]) for entry in ordered],
            [entry["truth"] for entry in ordered],
            [entry["position"] for entry in ordered],
        ):
            found = spearmanr(range(len(trait)), trait).statistic
            assert abs(found) * (len(trait) - 1) ** 0.5 < limit


def test_pictures_have_no_metadata(study: Path) -> None:
    for path in (study / "pictures").iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert set(picture.info) <= {"transparency"}
            assert re.fullmatch(r"[0-9a-f]{32}\.png", path.name)


def test_settings_and_secret_decide_every_byte(
    study: Path,
    runs: list[RunDir],
    tiny_store: Store,
    tmp_path: Path,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    create_study(settings(), runs, tiny_store, tmp_path / "again", secret=SECRET)
    again, first = contents(tmp_path / "again"), contents(study)
    for told in (again, first):
        told["study.yaml"] = re.sub(rb"created: .*", b"", told["study.yaml"])
    assert again == first


def test_without_a_secret_names_can_not_be_guessed(
    study: Path, runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        create_study(settings(), runs, tiny_store, tmp_path / name)
    items = [set(read(where, "items.json")["items"]) for where in
             (study, tmp_path / "a", tmp_path / "b")]  # fmt: skip
    assert not items[0] & items[1]
    assert not items[1] & items[2]
    kinds = ("reader", "position", "image_id", "condition")
    designs = [
        sorted([entry[kind] for kind in kinds] for entry in found.values())
        for found in (read(tmp_path / name, "sealed/key.json")["items"] for name in "ab")
    ]
    assert designs[0] == designs[1]


def test_what_the_user_should_know(runs: list[RunDir], tiny_store: Store, tmp_path: Path) -> None:
    config = settings(title="Plain or not?", readers=["ann", "bob"])
    seen: list[int] = []
    started: list[tuple[int, str]] = []

    def track(total: int, title: str) -> Callable[[int], None]:
        started.append((total, title))
        return seen.append

    notes = create_study(config, runs, tiny_store, tmp_path / "s", track=track)
    assert notes == [
        "each of 2 readers judges 40 maps in 3 blocks, 4 of them for the second time, after 2 "
        "for practice",
        "conditions are balanced for every reader; over readers they are so with a multiple of 3 "
        "readers, not with 2",
        "the title or a question has the name of condition Plain in it: readers would know what "
        "is compared",
    ]
    drawn_pictures = len(list((tmp_path / "s" / "pictures").iterdir()))
    assert started == [(drawn_pictures, f"{tmp_path / 's'}: pictures")]
    assert sum(seen) == drawn_pictures


def test_once_every_case_is_seen_once(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    config = settings(design={"kind": "once"}, repeats={"share": 0, "gap": 3})
    create_study(config, runs, tiny_store, tmp_path / "s")
    key = read(tmp_path / "s", "sealed/key.json")["items"].values()
    seen = Counter((e["reader"], e["case"]) for e in key if not e["practice"])
    assert set(seen.values()) == {1}
    pairs = Counter((e["case"], e["condition"]) for e in key if not e["practice"])
    assert len(pairs) == 12 * 3


def refusal(config: StudyConfig, runs: list[RunDir], store: Store, out: Path) -> str:
    with pytest.raises(MedrobustError) as error:
        create_study(config, runs, store, out)
    assert not out.exists()
    assert not list(out.parent.glob(".*partial*"))
    return str(error.value)


def test_missing_maps_are_named_with_the_commands_that_make_them(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    one = {"name": "a", "run": "standard", "method": "smooth-grad"}
    two = {"name": "b", "run": "dual/0", "branch": "adv", "method": "gradient"}
    config = settings(conditions=[one, two])
    text = refusal(config, runs, tiny_store, tmp_path / "s")
    standard, dual = runs
    options = "--split train --methods {} --all-images --finding consolidation --finding effusion"
    head = f"--store {shlex.quote(str(tiny_store.path))} "
    maps = standard.explain / "maps/phantom/train/single/smooth-grad/consolidation.npz"
    assert text == (
        f"maps: 4 of 4 files are missing, such as {maps}; make them with "
        f"`medrobust explain {standard.path} {head}{options.format('smooth-grad')}` and "
        f"`medrobust explain {dual.path} {head}{options.format('gradient')}`"
    )


def test_a_branch_that_a_run_does_not_have(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    conditions = [{"name": "a", "run": "dual"}]
    assert refusal(settings(conditions=conditions), runs, tiny_store, tmp_path / "s") == (
        "condition a: expected branch to be one of adv, clean, found 'single'"
    )


def test_a_method_that_nobody_can_use(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    conditions = [{"name": "a", "run": "standard", "method": "gradcam"}]
    assert refusal(settings(conditions=conditions), runs, tiny_store, tmp_path / "s") == (
        "condition a: expected method to be one of gradient, gradient-x-input, smooth-grad, "
        "integrated-gradients, grad-cam, occlusion, found 'gradcam'; did you mean grad-cam?"
    )


def test_maps_of_a_method_of_ones_own(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    """They are read where they are there, and named where another is asked for."""
    copy = Path(shutil.copytree(runs[0].path, tmp_path / "standard" / "0"))
    places = copy / "explain" / "maps" / "phantom" / "train" / "single"
    (places / "gradient").rename(places / "mine")
    condition = {"name": "a", "run": "standard", "method": "mine"}
    create_study(settings(conditions=[condition]), [RunDir(copy)], tiny_store, tmp_path / "s")
    (places / "mine" / "effusion.npz").unlink()
    other = settings(conditions=[condition | {"method": "x"}])
    methods = "gradient, gradient-x-input, smooth-grad, integrated-gradients, grad-cam, occlusion"
    assert refusal(other, [RunDir(copy)], tiny_store, tmp_path / "t") == (
        f"condition a: expected method to be one of {methods}, mine, found 'x'"
    )
    some = settings(conditions=[condition])
    assert refusal(some, [RunDir(copy)], tiny_store, tmp_path / "t") == (
        f"condition a: expected method to be one of {methods}, found 'mine'"
    )


@pytest.mark.parametrize(
    ("run", "problem"),
    [("dua", "none of them"), ("dual/1", "none of them")],
)
def test_a_run_that_is_not_there(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path, run: str, problem: str
) -> None:
    conditions = [{"name": "a", "run": run}]
    assert refusal(settings(conditions=conditions), runs, tiny_store, tmp_path / "s") == (
        f"condition a: expected run to be one of standard/0, dual/0, found {run!r}, {problem}"
    )


def test_several_seeds_need_one_to_be_named(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    other = RunDir(tmp_path / "dual" / "1")
    other.path.mkdir(parents=True)
    for name in ("config.yaml", "provenance.json"):
        text = (runs[1].path / name).read_text()
        (other.path / name).write_text(text.replace("seed: 0", "seed: 1"))
    with pytest.raises(MedrobustError, match=r"found 'dual', several seeds of it: name one"):
        sources(settings().conditions, [*runs, other], tiny_store, "train")
    named = settings(conditions=[{"name": "a", "run": "dual/1"}])
    assert sources(named.conditions, [*runs, other], tiny_store, "train")[0].run == other


def test_a_finding_has_any_of_its_names_once(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    config = settings(findings=["Pleural Effusion", "effusion"])
    create_study(config, runs, tiny_store, tmp_path / "s")
    items = read(tmp_path / "s", "items.json")["items"].values()
    assert {item["finding"] for item in items} == {"effusion"}


def test_a_finding_that_the_store_does_not_have(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    assert refusal(settings(findings=["gout"]), runs, tiny_store, tmp_path / "s") == (
        "findings: expected some of nodule, consolidation, effusion, pneumothorax, cardiomegaly, "
        "found 'gout'"
    )


def test_too_few_images(runs: list[RunDir], tiny_store: Store, tmp_path: Path) -> None:
    text = refusal(
        settings(cases={"count": 40, "negatives": 0.5}), runs, tiny_store, tmp_path / "s"
    )
    assert text.startswith("cases: expected images of different patients of which every condition")


def test_a_finding_has_the_file_of_any_of_its_names(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    source = sources(settings().conditions, runs, tiny_store, "train")[0]
    (tmp_path / "Pleural Effusion.npz").write_bytes(source.path("effusion").read_bytes())
    moved = replace(source, folder=tmp_path)
    assert moved.path("effusion").name == "Pleural Effusion.npz"
    assert moved.ids("effusion") == source.ids("effusion")
    assert moved.path("nodule").name == "nodule.npz"


@pytest.mark.parametrize("content", [b"", b"no", b"PK\x03\x04"])
def test_files_that_are_no_maps(runs: list[RunDir], tmp_path: Path, content: bytes) -> None:
    source = Source(settings().conditions[0], runs[0], tmp_path)
    source.path("effusion").write_bytes(content)
    with pytest.raises(MedrobustError, match=r"expected maps that `medrobust explain` wrote"):
        source.ids("effusion")


def test_other_arrays_are_no_maps(runs: list[RunDir], tmp_path: Path) -> None:
    source = Source(settings().conditions[0], runs[0], tmp_path)
    np.savez(source.path("effusion"), image_id=np.array(["a"]))
    assert source.ids("effusion") == {"a"}
    with pytest.raises(MedrobustError) as error:
        source.maps("effusion", ["a"])
    assert str(error.value).startswith(
        f"{tmp_path / 'effusion.npz'}: expected maps that `medrobust explain` wrote, found none ("
    )


def test_a_truncated_file_is_no_map(runs: list[RunDir], tmp_path: Path) -> None:
    content = next(runs[0].explain.rglob("effusion.npz")).read_bytes()
    source = Source(settings().conditions[0], runs[0], tmp_path)
    source.path("effusion").write_bytes(content[: len(content) // 2])
    with pytest.raises(MedrobustError, match=r"found none \("):
        source.ids("effusion")


def test_another_store_with_sixteen_bits(runs: list[RunDir], tmp_path: Path) -> None:
    store = prepare(Phantom(images=40, size=32, seed=1), tmp_path / "store", size=None, bits=16)
    folder = tmp_path / "standard" / "0"
    maps = folder / f"explain/maps/phantom-{store.checksum[:8]}/train/single/gradient"
    maps.mkdir(parents=True)
    for name in ("config.yaml", "provenance.json"):
        (folder / name).write_bytes((runs[0].path / name).read_bytes())
    ids = [str(name) for name in store.table["image_id"]]
    for finding in FINDINGS:
        write_maps(maps / f"{finding}.npz", ids, np.ones((len(ids), 32, 32), np.float32))
    config = settings(conditions=SETTINGS["conditions"][:1], cases={"count": 8, "practice": 0})
    create_study(config, [RunDir(folder)], store, tmp_path / "s")
    name, entry = next(iter(read(tmp_path / "s", "sealed/key.json")["items"].items()))
    item = read(tmp_path / "s", "items.json")["items"][name]
    red, green, _ = Image.open(tmp_path / "s" / "pictures" / item["deep"]).split()
    pixels = 256 * np.asarray(red).astype(int) + np.asarray(green)
    assert np.array_equal(pixels, store.images[ids.index(entry["image_id"]), 0])
    assert yaml.safe_load((tmp_path / "s" / "study.yaml").read_text())["picture"]["deep"] is True


def test_maps_of_another_size(runs: list[RunDir], tiny_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "standard" / "0"
    target = folder / "explain" / "maps" / "phantom" / "train" / "single" / "gradient"
    target.mkdir(parents=True)
    for name in ("config.yaml", "provenance.json"):
        (folder / name).write_bytes((runs[0].path / name).read_bytes())
    ids = [str(name) for name in tiny_store.table["image_id"]]
    for finding in FINDINGS:
        write_maps(target / f"{finding}.npz", ids, np.ones((len(ids), 8, 8), np.float32))
    config = settings(conditions=SETTINGS["conditions"][:1])
    assert refusal(config, [RunDir(folder)], tiny_store, tmp_path / "s") == (
        f"{target / 'consolidation.npz'}: expected maps of (32, 32) pixels like the store's "
        "images, found (8, 8): make them again with `medrobust explain`"
    )


@pytest.mark.parametrize("overwrite", [False, True])
def test_answers_are_never_overwritten(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "answers.sqlite").write_text("x")
    with pytest.raises(MedrobustError) as error:
        create_study(settings(), runs, tiny_store, tmp_path, overwrite=overwrite)
    assert str(error.value) == (
        f"{tmp_path} holds readers' answers, which are never overwritten: choose another place"
    )
    assert (tmp_path / "answers.sqlite").read_text() == "x"


def test_a_study_without_answers_is_overwritten_if_asked(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text("x")
    with pytest.raises(MedrobustError, match=r"exists already"):
        create_study(settings(), runs, tiny_store, tmp_path)
    create_study(settings(), runs, tiny_store, tmp_path, overwrite=True)
    assert (tmp_path / "study.yaml").read_text().startswith("version: 1")


def test_volumes_are_shown_by_their_middle_slice(
    runs: list[RunDir], tiny_store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "standard" / "0"
    target = folder / "explain" / "maps" / "phantom" / "train" / "single" / "gradient"
    target.mkdir(parents=True)
    for name in ("config.yaml", "provenance.json"):
        (folder / name).write_bytes((runs[0].path / name).read_bytes())
    ids = [str(name) for name in tiny_store.table["image_id"]]
    maps = np.stack([np.zeros((len(ids), 32, 32), np.float32)] * 4, axis=1)
    maps[:, 2] = drawn(0, 0)
    for finding in FINDINGS:
        write_maps(target / f"{finding}.npz", ids, maps)
    pixels = np.stack([np.asarray(tiny_store.images) // (slice_ + 1) for slice_ in range(4)], 2)
    info = tiny_store.info.model_copy(update={"size": (4, 32, 32)})
    volumes = replace(tiny_store, images=pixels, info=info)
    config = settings(conditions=SETTINGS["conditions"][:1])
    notes = create_study(config, [RunDir(folder)], volumes, tmp_path / "s")
    assert notes[-1] == "volumes are shown by their middle slice"
    name, entry = next(iter(read(tmp_path / "s", "sealed/key.json")["items"].items()))
    item = read(tmp_path / "s", "items.json")["items"][name]
    image = np.asarray(Image.open(tmp_path / "s" / "pictures" / item["image"]))
    assert np.array_equal(image, tiny_store.images[ids.index(entry["image_id"]), 0] // 3)
    assert entry["boxes"] == []
    middle = Image.open(tmp_path / "s" / "pictures" / item["map"]).convert("RGBA")
    assert np.asarray(middle)[..., 3].any()


def test_boxes_lie_around_the_finding(tiny_store: Store) -> None:
    for row, mask in list(tiny_store.truth("nodule").items())[:3]:
        [[x, y, w, h]] = boxes_of(tiny_store, row, "nodule")
        inside = mask[int(y) : int(y + h), int(x) : int(x + w)]
        assert inside.sum() == mask.sum()
        assert inside.any(axis=0)[[0, -1]].all()
        assert inside.any(axis=1)[[0, -1]].all()
    negative = int(np.flatnonzero(tiny_store.table["label:nodule"] == 0)[0])
    assert boxes_of(tiny_store, negative, "nodule") == []


def test_no_torch_is_needed() -> None:
    code = "import sys, medrobust.study.create; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
