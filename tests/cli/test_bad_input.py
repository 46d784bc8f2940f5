"""What people get wrong: one line that says what to do, and nothing half-written."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from medrobust import checkpoints
from medrobust.corruptions import CORRUPTIONS
from medrobust.data.prepare import prepare
from medrobust.data.selection import Selection
from medrobust.data.store import Store, StoreInfo
from medrobust.datasets.phantom import Phantom
from medrobust.files import write_csv, write_json
from medrobust.predictions import read_predictions
from medrobust.rundir import RunDir

Refuse = Callable[..., str]
Copy = Callable[[RunDir], RunDir]
Contents = Callable[[Path], dict[str, bytes]]

SETTINGS = {
    "data.store=nowhere": "expected a store at nowhere, found no such folder: give the folder "
    "`medrobust prepare` wrote",
    "data.store={tmp}": "expected a store at {tmp}, found a folder without store.json: give the "
    "folder `medrobust prepare` wrote",
    "trian.epochs=3": "{config}: unknown key trian; did you mean train?",
    "train.epoch=3": "{config}: unknown key train.epoch; did you mean train.epochs?",
    "attack.norm=l3": "{config}: attack.norm: input should be 'linf' or 'l2', found 'l3'",
    "attack.eps=-0.1": "{config}: attack.eps: input should be greater than or equal to 0, "
    "found -0.1",
    "attack.eps=4": "{config}: attack.eps: expected a radius between 0 and 1, in units of the "
    "image's range (4/255 rather than 4), found 4.0",
    "evaluate.eps=[2]": "{config}: evaluate.eps: expected a radius between 0 and 1, in units of "
    "the image's range (4/255 rather than 4), found 2.0",
    "attack.eps=4/0": "{config}: attack.eps: expected a number such as 0.005 or 4/255, found '4/0'",
    "regime=dula": "{config}: regime: input should be 'standard', 'adversarial', 'dual' or "
    "'noise', found 'dula'",
    "network.name=resnet5": "network: expected one of small, resnet18, resnet34, resnet50, "
    "resnet101, densenet121 or package.module:factory, found 'resnet5'; did you mean resnet50?",
    "network.stem_pool=true": "network small: these options do not fit "
    "(SmallResNet.__init__() got an unexpected keyword argument 'stem_pool')",
    "network.options.channels=3": "{config}: network.options: channels follows from the store and "
    "can't be set, found {{'channels': 3}}",
    "network.initialise=gone.pth": "weights: no file gone.pth",
    "train.accelerator=cuda": "train.accelerator=cuda: no CUDA device was found; use "
    "train.accelerator=auto or cpu",
    "epochs": "setting: expected section.key=value, found 'epochs'",
    "=3": "setting: expected section.key=value, found '=3'",
    "train.epochs=[": "setting: 'train.epochs=[': '[' is not a YAML value",
    "name.first=3": "setting: 'name.first=3': name is not a section",
}

EVALUATIONS = {
    "--branches x": "--branches: expected one of own, matrix, found 'x'",
    "--eps garbage": "--eps: expected numbers such as 0.005,4/255, found 'garbage'",
    "--eps 4": "eps: expected a radius between 0 and 1, in units of the image's range "
    "(4/255 rather than 4), found 4.0",
    "--eps -0.1": "eps: expected a radius between 0 and 1, in units of the image's range "
    "(4/255 rather than 4), found -0.1",
    "--eps 1.01": "eps: expected a radius between 0 and 1, in units of the image's range "
    "(4/255 rather than 4), found 1.01",
    "--eps nan": "--eps: expected numbers such as 0.005,4/255, found 'nan'",
    "--suite slow": "--suite: expected one of fast, strong, pgd, apgd, fgsm, square, found 'slow'",
    "--norm l3": "--norm: expected one of linf, l2, l1, found 'l3'",
    "--norm l1": "eps: expected radii (--eps) beside another norm or unit than the training's, "
    "found none",
    "--unit native": "eps: expected radii (--eps) beside another norm or unit than the "
    "training's, found none",
    "--unit hu --eps 10": "--unit: expected one of image, native, found 'hu'",
    "--goal all": "goal: expected total, finding, vanish:NAME or appear:NAME, found 'all'",
    "--goal vanish": "goal: expected total, finding, vanish:NAME or appear:NAME, found 'vanish'",
    "--goal vanish:nodle": "goal: expected a finding of the model (nodule, consolidation, "
    "effusion, pneumothorax, cardiomegaly), found 'nodle'",
    "--loss hinge": "--loss: expected one of margin, cross-entropy, dlr, found 'hinge'",
    "--suite apgd --loss dlr": "loss dlr: expected at least 3 exclusive classes and the goal "
    "total, found 5 findings of task multilabel and goal total; use margin or cross-entropy",
    **{
        f"--suite {suite} {option}": f"--suite {suite}: expected no --steps, --restarts, "
        "--queries or --loss, since a suite has budgets of its own; give a single attack "
        "instead, such as --suite apgd"
        for suite in ("strong", "fast")
        for option in ("--steps 5", "--restarts 2", "--queries 9", "--loss margin")
    },
    "--corruptions blurr": "corruption: expected one of {corruptions}, found 'blurr'; did you "
    "mean blur?",
    "--groups hospital": "expected columns of the store's table to group images by, found "
    "'hospital', which it lacks; it has {columns}",
    "--save-images 12": "--save-images: expected one of 8, 16, stored, found '12'",
    "--split tset": "store phantom has no images in split 'tset': it has train, val, test",
    "--checkpoint epoch-0099": "checkpoint: no file {run}/checkpoints/epoch-0099.safetensors; "
    "there are best, epoch-0001, last",
    "--store nowhere": "expected a store at nowhere, found no such folder: give the folder "
    "`medrobust prepare` wrote",
    "--device meta": "device: expected auto, cpu or another device of this machine, found 'meta', "
    "which can't be used here (Tensor.item() cannot be called on meta tensors)",
}


@pytest.mark.parametrize(("setting", "expected"), SETTINGS.items())
def test_train_settings(
    refusal: Refuse,
    config_file: Callable[..., Path],
    contents: Contents,
    tmp_path: Path,
    setting: str,
    expected: str,
) -> None:
    if setting == "train.accelerator=cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = config_file()
    before = contents(tmp_path)
    found = refusal("train", config, "--runs", tmp_path / "runs", setting.format(tmp=tmp_path))
    assert found == expected.format(tmp=tmp_path, config=config)
    assert contents(tmp_path) == before


def test_no_configuration(refusal: Refuse) -> None:
    assert refusal("train", "nowhere.yaml") == (
        "configuration: can't read nowhere.yaml (No such file or directory); give a YAML file "
        "such as those in configs/"
    )


@pytest.mark.parametrize(("options", "expected"), EVALUATIONS.items())
def test_evaluate_options(
    refusal: Refuse, dual_run: RunDir, contents: Contents, tiny_store: Store, options: str,
    expected: str,
) -> None:  # fmt: skip
    before = contents(dual_run.path)
    found = refusal("evaluate", dual_run.path, *options.split())
    columns = [name for name in tiny_store.table if not name.startswith("label:")]
    names = {"corruptions": ", ".join(CORRUPTIONS), "columns": ", ".join(columns)}
    assert found == expected.format(run=dual_run.path, **names)
    assert contents(dual_run.path) == before


@pytest.mark.parametrize("command", ["evaluate", "explain"])
@pytest.mark.parametrize("device", ["cuda", "cuda:7", "tpu"])
def test_device_that_does_not_exist(
    refusal: Refuse, dual_run: RunDir, contents: Contents, command: str, device: str
) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    before = contents(dual_run.path)
    found = refusal(command, dual_run.path, "--device", device)
    assert found.startswith(
        f"device: expected auto, cpu or another device of this machine, found {device!r}, "
    )
    assert contents(dual_run.path) == before


@pytest.mark.parametrize("command", ["evaluate", "explain"])
def test_no_run(refusal: Refuse, tmp_path: Path, command: str) -> None:
    assert refusal(command, tmp_path) == (
        f"{tmp_path}: expected a run directory (with config.yaml in it) or a folder of them, "
        "found none; runs are made by `medrobust train`"
    )


def test_unknown_finding(refusal: Refuse, dual_run: RunDir, contents: Contents) -> None:
    before = contents(dual_run.path)
    assert refusal("explain", dual_run.path, "--finding", "nodle") == (
        "finding: expected some of nodule, consolidation, effusion, pneumothorax, cardiomegaly, "
        "found 'nodle'"
    )
    assert contents(dual_run.path) == before


def test_report_where_no_folder_is(refusal: Refuse, dual_run: RunDir, tmp_path: Path) -> None:
    out = tmp_path / "gone" / "report.html"
    assert refusal("report", dual_run.path, "--out", out) == (
        f"expected an existing folder for the report, found no {out.parent}; make it first"
    )


def test_run_of_another_configuration(
    refusal: Refuse, config_file: Callable[..., Path], dual_run: RunDir, contents: Contents
) -> None:
    before = contents(dual_run.path)
    runs = dual_run.path.parents[1]
    assert refusal("train", config_file(), "--runs", runs, "train.lr=1") == (
        f"{dual_run.path} holds a run of another configuration: train.lr is 0.005 there, 1.0 "
        "here. Choose another name or seed, or remove that folder"
    )
    assert contents(dual_run.path) == before


def test_folder_of_something_else(
    refusal: Refuse, config_file: Callable[..., Path], contents: Contents, tmp_path: Path
) -> None:
    (tmp_path / "runs/dual/0").mkdir(parents=True)
    (tmp_path / "runs/dual/0/thesis.tex").touch()
    config = config_file()
    before = contents(tmp_path)
    assert refusal("train", config, "--runs", tmp_path / "runs") == (
        f"{tmp_path}/runs/dual/0: expected an empty or no folder for a new run, found files that "
        "are no run's; choose another name"
    )
    assert contents(tmp_path) == before


class TestWeights:
    """Files that are not the weights they should be."""

    @pytest.mark.parametrize("kind", ["truncated", "random", "changed", "foreign"])
    def test_damaged_checkpoint(
        self, refusal: Refuse, dual_run: RunDir, copy_of: Copy, contents: Contents, kind: str
    ) -> None:
        run = copy_of(dual_run)
        path = run.checkpoints / "best.safetensors"
        expected = damage(path, kind).format(path=re.escape(str(path)))
        before = contents(run.path)
        for command in ("evaluate", "explain"):
            assert re.fullmatch(expected, refusal(command, run.path))
        assert contents(run.path) == before

    @pytest.mark.parametrize("command", ["evaluate", "explain"])
    def test_weights_that_are_no_numbers(
        self, refusal: Refuse, dual_run: RunDir, copy_of: Copy, contents: Contents, command: str
    ) -> None:
        run = copy_of(dual_run)
        saved = checkpoints.load(run.checkpoints, "best")
        saved.tensors["fc.bias"][1] = torch.nan
        checkpoints.save(run.checkpoints, "best", saved)
        before = contents(run.path)
        assert refusal(command, run.path) == (
            f"{run.checkpoints}/best.safetensors: expected finite weights, found NaN or infinity "
            "in fc.bias; has that training diverged? Take an earlier checkpoint"
        )
        assert contents(run.path) == before

    def test_weights_of_another_network(
        self, refusal: Refuse, dual_run: RunDir, copy_of: Copy
    ) -> None:
        run = copy_of(dual_run)
        saved = checkpoints.load(run.checkpoints, "best")
        del saved.tensors["fc.bias"]
        checkpoints.save(run.checkpoints, "best", saved)
        assert refusal("evaluate", run.path) == (
            f"{run.checkpoints}/best.safetensors: weights of another network; missing fc.bias, "
            "not expected nothing"
        )

    @pytest.mark.parametrize("content", ["malicious", "random", "empty", "list"])
    def test_pickle_is_never_executed(
        self,
        refusal: Refuse,
        config_file: Callable[..., Path],
        contents: Contents,
        tmp_path: Path,
        content: str,
    ) -> None:
        path, trap = tmp_path / "weights.pth", tmp_path / "executed"
        if content == "malicious":
            torch.save({"state_dict": {"fc.bias": Trap(trap)}}, path)
            torch.load(path, weights_only=False)
            trap.unlink()  # it works
        elif content == "list":
            torch.save([torch.zeros(3)], path)
        else:
            path.write_bytes(b"" if content == "empty" else np.random.default_rng(0).bytes(999))
        config = config_file()
        before = contents(tmp_path)
        found = refusal("train", config, "--runs", tmp_path / "runs", f"network.initialise={path}")
        assert found == (
            f"{path}: expected tensors in a .safetensors file or in a .pth that holds nothing "
            "else; this one is damaged or holds other objects, which are never loaded"
        )
        assert not trap.exists()
        assert contents(tmp_path) == before


class TestStores:
    """Stores that are not what a run needs."""

    def test_training_store_was_made_again(
        self, refusal: Refuse, dual_run: RunDir, copy_of: Copy, other_store: Store,
        contents: Contents,
    ) -> None:  # fmt: skip
        run = copy_of(dual_run)
        trained_on, found = dual_run.training_store().checksum, other_store.checksum
        move_training_store(run, other_store.path)
        before = contents(run.path)
        for command in ("evaluate", "explain"):
            assert refusal(command, run.path) == (
                f"{other_store.path}: expected the store this run was trained on (phantom, "
                f"checksum {trained_on[:12]}), found one with checksum {found[:12]}; it was "
                "changed or made again. Restore it, or name another one with --store (where a "
                "command has it)"
            )
        assert contents(run.path) == before

    def test_training_store_was_edited(
        self, refusal: Refuse, dual_run: RunDir, copy_of: Copy, tiny_store: Store, tmp_path: Path
    ) -> None:
        run, store = copy_of(dual_run), Path(shutil.copytree(tiny_store.path, tmp_path / "store"))
        move_training_store(run, store)
        with (store / "table.csv").open("a") as file:
            file.write("\n")
        assert refusal("evaluate", run.path) == (
            f"{store}/table.csv was changed after the store was made (its SHA-256 differs): "
            "run `medrobust prepare` again"
        )

    def test_other_findings(
        self, refusal: Refuse, dual_run: RunDir, contents: Contents, tmp_path: Path
    ) -> None:
        sex = Selection(labels={"female": "sex:F"})
        source = Phantom(images=20, size=32)
        store = prepare(source, tmp_path / "store", size=None, selection=sex)
        before = contents(dual_run.path)
        for command in ("evaluate", "explain"):
            assert refusal(command, dual_run.path, "--store", store.path) == (
                "expected a finding that model and store share: the model has nodule, "
                "consolidation, effusion, pneumothorax, cardiomegaly; "
                f"{store.path} has female"
            )
        assert contents(dual_run.path) == before

    def test_other_channels(
        self, refusal: Refuse, dual_run: RunDir, tiny_store: Store, tmp_path: Path
    ) -> None:
        colour = np.repeat(np.asarray(tiny_store.images), 3, axis=1)
        store = rewritten(tiny_store, tmp_path / "store", images=colour)
        assert refusal("evaluate", dual_run.path, "--store", store) == (
            f"{store}: expected channels 1, as {dual_run.path} was trained, found 3; give a store "
            "prepared in the same way"
        )

    def test_empty_split(
        self, refusal: Refuse, dual_run: RunDir, contents: Contents, tiny_store: Store,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        table = tiny_store.table.assign(split=tiny_store.table["split"].replace("test", "train"))
        store = rewritten(tiny_store, tmp_path / "store", table=table)
        before = contents(dual_run.path)
        for command in ("evaluate", "explain"):
            assert refusal(command, dual_run.path, "--store", store) == (
                "store phantom has no images in split 'test': it has train, val"
            )
        assert contents(dual_run.path) == before

    def test_nothing_to_select_a_checkpoint_by(
        self, medrobust: Any, config_file: Callable[..., Path], tiny_store: Store, tmp_path: Path
    ) -> None:
        table = tiny_store.table.copy()
        labels = [f"label:{finding}" for finding in tiny_store.findings]
        table.loc[table["split"] == "val", labels] = 0.0
        store = rewritten(tiny_store, tmp_path / "store", table=table)
        outcome = medrobust(
            "train", config_file(), "--runs", tmp_path / "runs", f"data.store={store}"
        )
        assert outcome.code == 1
        assert outcome.err == (
            f"error: {store}: no finding has both positives and negatives in split val, so no "
            "checkpoint can be selected; prepare the store with another split\n"
        )
        assert not (tmp_path / "runs").exists()


class TestFullDisk:
    """What is on a full disk is what was there, or complete."""

    def test_new_run(
        self, refusal: Refuse, config_file: Callable[..., Path], tmp_path: Path,
        fill_disk: Callable[[str], None],
    ) -> None:  # fmt: skip
        config = config_file()
        fill_disk("config")
        found = refusal("train", config, "--runs", tmp_path / "runs")
        assert re.fullmatch(FULL.format(r"\S+config\.yaml"), found)
        assert list((tmp_path / "runs").rglob("*")) == [tmp_path / "runs/dual"]

    def test_checkpoint(
        self, medrobust: Any, config_file: Callable[..., Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, fill_disk: Callable[[str], None],
    ) -> None:  # fmt: skip
        config, runs = config_file(), tmp_path / "runs"
        fill_disk("best")
        outcome = medrobust("train", config, "--runs", runs)
        path = runs / "dual/0/checkpoints/best.safetensors"
        assert outcome.code == 1
        last = outcome.err.splitlines()[-1].removeprefix("error: ")
        assert re.fullmatch(FULL.format(re.escape(str(path))), last)
        assert not path.exists()
        assert not list(runs.rglob("*.partial*"))
        monkeypatch.undo()
        outcome = medrobust("train", config, "--runs", runs)
        assert outcome.code == 0, "once there is space the same command goes on"

    @pytest.mark.parametrize("file", ["clean-clean", "metrics", "on-adv"])
    def test_predictions(
        self, refusal: Refuse, dual_run: RunDir, copy_of: Copy, file: str,
        fill_disk: Callable[[str], None],
    ) -> None:  # fmt: skip
        run = copy_of(dual_run)
        fill_disk(file)
        found = refusal("evaluate", run.path)
        assert re.fullmatch(FULL.format(rf"{re.escape(str(run.path))}\S+{file}\.\w+"), found)
        assert not list(run.path.rglob("*.partial*"))
        assert not run.metrics.exists()
        for path in run.predictions.glob("*.csv"):
            assert len(read_predictions(path).frame) in (10, 16)

    def test_report(
        self, refusal: Refuse, evaluated_run: RunDir, tmp_path: Path,
        fill_disk: Callable[[str], None],
    ) -> None:  # fmt: skip
        out = tmp_path / "report.html"
        out.write_text("older")
        fill_disk("report")
        found = refusal("report", evaluated_run.path, "--out", out)
        assert re.fullmatch(FULL.format(re.escape(str(out))), found)
        assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
        assert out.read_text() == "older"


FULL = (
    r"cannot write {}: No space left on device; free some space or choose another disk "
    r"\(nothing was left behind\)"
)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def damage(path: Path, kind: str) -> str:
    """Spoil a checkpoint; return what is to be said of it."""
    content = path.read_bytes()
    if kind == "foreign":  # tensors that somebody else saved
        save_file({"fc.weight": torch.zeros(3)}, path)
    elif kind == "changed":
        path.write_bytes(content[:-2] + bytes(255 - byte for byte in content[-2:]))
        return r"{path} is damaged: its tensors do not have the hash they were given"
    else:
        spoiled = content[: len(content) // 2]
        path.write_bytes(spoiled if kind == "truncated" else np.random.default_rng(0).bytes(5000))
    return r"{path} can't be read as a checkpoint \(.+\)"


def move_training_store(run: RunDir, path: Path) -> None:
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace(str(run.config().data.store), str(path)))


def rewritten(
    store: Store, path: Path, table: pd.DataFrame | None = None, images: Any = None
) -> Path:
    """A copy of a store with another table or other images, valid as a store."""
    from medrobust.data.store import combined_checksum
    from medrobust.data.writer import checksums_of

    shutil.copytree(store.path, path)
    (path / "store.json").unlink()
    if table is not None:
        write_csv(path / "table.csv", table)
    if images is not None:
        np.save(path / "images.npy", images)
    checksums = checksums_of(path)
    info: StoreInfo = store.info.model_copy(
        update={
            "checksums": checksums,
            "checksum": combined_checksum(checksums),
            "channels": store.images.shape[1] if images is None else images.shape[1],
        }
    )
    write_json(path / "store.json", info.model_dump(mode="json"))
    return path
