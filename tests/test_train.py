"""Training on a few small images: resume after kills, golden losses, selection, errors."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medrobust import checkpoints, files
from medrobust.config import Config, resolve
from medrobust.data.prepare import prepare
from medrobust.data.store import Store, open_store
from medrobust.datasets.arrays import Arrays
from medrobust.dual import is_sharing
from medrobust.errors import MedrobustError
from medrobust.models import load_model
from medrobust.rundir import RunDir
from medrobust.train import train
from medrobust.validation import Validation

GOLDEN = Path(__file__).parent / "golden" / "dual_losses.json"
EPOCHS, STEPS_PER_EPOCH = 4, 4


def squares(path: Path) -> Path:
    """80 images of 12x12 in which a brighter square is the finding; made of closed forms only."""
    number = np.arange(80)
    row, column = np.mgrid[:12, :12]
    waves = np.sin(number[:, None, None] + row * 0.7) * np.cos(column * 0.5 - number[:, None, None])
    labels = np.stack([number % 2, number // 2 % 2], 1).astype(float)
    images = 100 + 40 * waves
    images[:, 2:5, 2:5] += 30 * labels[:, 0, None, None]
    images[:, 7:10, 6:9] += 30 * labels[:, 1, None, None]
    labels[5, 1] = np.nan
    split = np.where(number < 64, 0, np.where(number < 72, 1, 2))
    np.savez(path, images=images.round().astype(np.uint8), labels=labels, split=split)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("train")
    source = Arrays(squares(folder / "squares.npz"), split="split", findings=["upper", "lower"])
    return prepare(source, folder / "store", size=None)


def settings(store: Store, **changes: Any) -> Config:
    base: dict[str, Any] = {
        "name": "tiny",
        "regime": "dual",
        "data": {"store": str(store.path)},
        "network": {"name": "small", "width": 4},
        "attack": {"eps": "8/255", "steps": 2},
        "train": {"epochs": EPOCHS, "batch_size": 16, "lr": 5e-3, "validation_steps": 2},
    }
    overrides = [f"{name.replace('__', '.')}={value}" for name, value in changes.items()]
    return resolve(base, overrides, "test")


def finished(config: Config, store: Store, path: Path) -> RunDir:
    run = RunDir(path)
    train(config, store, run)
    return run


def comparable_log(run: RunDir) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_bit_equal(one: RunDir, other: RunDir) -> None:
    assert checkpoints.names(one.checkpoints) == checkpoints.names(other.checkpoints)
    for name in checkpoints.names(one.checkpoints):
        first, second = (checkpoints.load(run.checkpoints, name) for run in (one, other))
        assert first.state == second.state
        assert first.tensors.keys() == second.tensors.keys()
        for key, tensor in first.tensors.items():
            assert torch.equal(tensor, second.tensors[key]), key
    assert comparable_log(one) == comparable_log(other)


def train_and_die(config: dict[str, Any], path: str, moment: str, number: int) -> None:
    """In a process of its own: train, and be killed at a batch or while a file is written."""
    torch.set_num_threads(1)
    resolved = Config.model_validate(config)
    seen = 0

    def die_at(what: str) -> None:
        nonlocal seen
        seen += what == moment
        if what == moment and seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def track(batches: Iterator[Any], length: int, title: str) -> Iterator[Any]:
        for batch in batches:
            die_at("batch")
            yield batch

    flush = files._flush_to_disk

    def dying_flush(file: Path) -> None:
        die_at("write")
        flush(file)

    files._flush_to_disk = dying_flush
    train(resolved, open_store(resolved.data.store), RunDir(Path(path)), track=track)


@pytest.mark.parametrize("regime", ["dual", "standard"])
def test_a_run_killed_again_and_again_ends_bit_equal(
    store: Store, tmp_path: Path, regime: str
) -> None:
    config = settings(store, regime=regime, train__keep_every=2)
    whole = finished(config, store, tmp_path / "whole")
    random = np.random.default_rng(0 if regime == "dual" else 1)
    kills = [
        ("batch", int(random.integers(1, STEPS_PER_EPOCH + 1))),  # before any checkpoint
        ("write", 5),  # in the first checkpoints, when an epoch is logged but not saved
        ("write", int(random.integers(4, 12))),  # in the middle of writing a checkpoint
        ("batch", int(random.integers(1, STEPS_PER_EPOCH + 1))),
        ("write", int(random.integers(2, 8))),
    ]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medrobust.train", "medrobust.data.prepare"])
    ends = []
    for moment, number in kills:
        process = context.Process(
            target=train_and_die,
            args=(config.model_dump(mode="json"), str(tmp_path / "killed"), moment, number),
        )
        process.start()
        process.join(120)
        ends.append(process.exitcode)
    assert ends.count(-signal.SIGKILL) >= 3  # the others had finished before
    train(config, store, RunDir(tmp_path / "killed"))
    assert_bit_equal(whole, RunDir(tmp_path / "killed"))
    assert RunDir(tmp_path / "killed").is_done
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_other_optimisers_resume_too(
    store: Store, tmp_path: Path, optimiser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(store, train__optimiser=optimiser, train__ema="null", train__patience=3)
    whole = finished(config, store, tmp_path / "whole")

    def interrupted(batches: Iterator[Any], length: int, title: str) -> Iterator[Any]:
        if title.startswith("epoch 3/"):
            raise KeyboardInterrupt
        return batches

    with pytest.raises(KeyboardInterrupt):
        train(config, store, RunDir(tmp_path / "cut"), track=interrupted)
    said: list[str] = []
    train(config, store, RunDir(tmp_path / "cut"), say=said.append)
    assert said[0].endswith("going on after epoch 2")
    assert_bit_equal(whole, RunDir(tmp_path / "cut"))


def test_balanced_classes(store: Store, tmp_path: Path) -> None:
    with np.load(squares(tmp_path / "squares.npz")) as arrays:
        rare = dict(arrays, labels=(np.arange(80) % 8 == 0).astype(int))
    np.savez(tmp_path / "rare.npz", **rare)
    single = prepare(Arrays(tmp_path / "rare.npz", split="split"), tmp_path / "store", size=None)
    config = settings(single, regime="standard", train__balanced="true", train__epochs=1)
    shares: list[float] = []

    def track(batches: Iterator[Any], length: int, title: str) -> Iterator[Any]:
        for batch in batches:
            shares.append(float(batch.labels.mean()))
            yield batch

    train(config, single, RunDir(tmp_path / "run"), track=track)
    assert len(shares) == STEPS_PER_EPOCH
    assert np.mean(shares) == 0.5
    refused = settings(store, train__balanced="true")
    with pytest.raises(MedrobustError, match=r"^train\.balanced: .*, found 2 findings that may"):
        train(refused, store, RunDir(tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()


def test_a_finished_run_is_left_alone(store: Store, tmp_path: Path) -> None:
    config = settings(store, train__epochs=1)
    run = finished(config, store, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    said: list[str] = []
    train(config, store, run, say=said.append)
    assert said == [f"{run.path}: training is done already"]
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_golden_losses(store: Store, tmp_path: Path) -> None:
    """20 steps in double precision; to change this file is to change what is learnt."""
    config = settings(store, train__precision="64-true", train__epochs=5)
    run = finished(config, store, tmp_path / "run")
    names = ("train_loss", "validation_loss", "score")
    found = {name: [line[name] for line in comparable_log(run)] for name in names}
    assert comparable_log(run)[-1]["step"] == 20
    expected = json.loads(GOLDEN.read_text())
    for name in names:
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name


def test_what_a_run_leaves_behind(store: Store, tmp_path: Path) -> None:
    run = finished(settings(store, train__keep_every=2), store, tmp_path / "run")
    names = ["best", "epoch-0002", "epoch-0004", "last"]
    assert checkpoints.names(run.checkpoints) == names
    best = checkpoints.load(run.checkpoints, "best").tensors
    assert {"layer1.conv1.weight", "layer1.bn1.running_mean", "adv/layer1.bn1.weight"} <= set(best)
    assert "adv/layer1.conv1.weight" not in best
    assert not [name for name in best if name.startswith(("ema/", "optimiser/"))]
    last = checkpoints.load(run.checkpoints, "last").tensors
    assert {"ema/adv/layer1.bn1.running_var", "optimiser/exp_avg/fc.weight"} <= set(last)
    provenance = run.provenance()
    assert provenance["store"]["checksum"] == store.checksum
    assert provenance["packages"]["torch"] == torch.__version__
    assert provenance["seconds"] > 0
    model, _ = load_model(run, store)
    assert is_sharing(model)
    assert model.branches == ("clean", "adv")


def test_the_best_checkpoint_is_that_of_the_best_robust_score(store: Store, tmp_path: Path) -> None:
    run = finished(settings(store), store, tmp_path / "run")
    lines = comparable_log(run)
    robust = [line["validation"]["pgd"]["adv"] for line in lines]
    assert [line["score"] for line in lines] == robust
    best = max(range(EPOCHS), key=lambda e: (robust[e], -lines[e]["validation_loss"]))
    assert checkpoints.load(run.checkpoints, "best").state["epoch"] == best + 1


@pytest.mark.parametrize(
    ("regime", "select", "expected"),
    [
        ("standard", "auto", lambda v: v["clean"]["single"]),
        ("adversarial", "auto", lambda v: v["pgd"]["single"]),
        ("dual", "clean", lambda v: v["clean"]["clean"]),
        ("dual", "mean", lambda v: (v["clean"]["clean"] + v["pgd"]["adv"]) / 2),
        ("noise", "robust", lambda v: v["pgd"]["single"]),
    ],
)
def test_what_selects(
    store: Store, tmp_path: Path, regime: str, select: str, expected: Any
) -> None:
    config = settings(store, regime=regime, train__select=select, train__epochs=1)
    line = comparable_log(finished(config, store, tmp_path / "run"))[0]
    assert line["score"] == pytest.approx(expected(line["validation"]))


def test_test_images_are_never_touched(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: set[int] = set()
    pixels = Store.pixels

    def recorded(self: Store, rows: Any) -> Any:
        touched.update(np.asarray(rows).tolist())
        return pixels(self, rows)

    monkeypatch.setattr(Store, "pixels", recorded)
    finished(settings(store, train__epochs=1), store, tmp_path / "run")
    assert set(store.rows("train")) | set(store.rows("val")) == touched
    assert touched.isdisjoint(store.rows("test").tolist())


def test_early_stopping(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.8, 0.8, 0.7, 0.9, 0.95])
    monkeypatch.setattr(
        "medrobust.train.validate", lambda *_, fast: Validation({"clean": {}}, 1.0, next(scores))
    )
    config = settings(store, train__patience=2, train__epochs=6)
    run = finished(config, store, tmp_path / "run")
    assert [line["best"] for line in comparable_log(run)] == [True, True, False, False]
    assert checkpoints.load(run.checkpoints, "best").state["epoch"] == 2
    assert run.is_done


def test_of_equal_scores_the_lower_loss_is_better(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.4, 0.45])
    monkeypatch.setattr(
        "medrobust.train.validate", lambda *_, fast: Validation({"clean": {}}, next(losses), 1.0)
    )
    run = finished(settings(store, train__epochs=3), store, tmp_path / "run")
    assert [line["best"] for line in comparable_log(run)] == [True, True, False]


def test_seeds_differ_and_repeat(store: Store, tmp_path: Path) -> None:
    logs = [
        comparable_log(
            finished(settings(store, seed=seed, train__epochs=1), store, tmp_path / name)
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_earlier_weights_can_be_the_start(store: Store, tmp_path: Path) -> None:
    first = finished(settings(store, regime="standard"), store, tmp_path / "first")
    path = first.checkpoints / "best.safetensors"
    said: list[str] = []
    config = settings(store, network__initialise=path, train__epochs=1, train__lr=1e-12)
    train(config, store, RunDir(tmp_path / "next"), say=said.append)
    one = checkpoints.load(first.checkpoints, "best").tensors
    two = checkpoints.load(tmp_path / "next" / "checkpoints", "best").tensors
    torch.testing.assert_close(one["fc.weight"], two["fc.weight"], rtol=0, atol=1e-9)
    torch.testing.assert_close(one["bn1.weight"], two["adv/bn1.weight"], rtol=0, atol=1e-9)


def test_a_loss_that_is_no_number_stops_with_the_reason(store: Store, tmp_path: Path) -> None:
    config = settings(
        store, regime="standard", train__optimiser="sgd", train__lr=1e30,
        train__gradient_clip="null", train__schedule="constant",
    )  # fmt: skip
    with pytest.raises(MedrobustError, match=r"the loss is no longer a number .* lower train\.lr"):
        train(config, store, RunDir(tmp_path / "run"))
    assert not RunDir(tmp_path / "run").is_done


def test_a_damaged_checkpoint_does_not_resume(store: Store, tmp_path: Path) -> None:
    config = settings(store)

    def interrupted(batches: Iterator[Any], length: int, title: str) -> Iterator[Any]:
        if title.startswith("epoch 2/"):
            raise KeyboardInterrupt
        return batches

    run = RunDir(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, store, run, track=interrupted)
    path = run.checkpoints / "last.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MedrobustError, match="can't be read as a checkpoint"):
        train(config, store, run)


def test_a_gpu_that_is_not_there(store: Store, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(MedrobustError, match="no CUDA device was found"):
        train(settings(store, train__accelerator="cuda"), store, RunDir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
def test_training_on_a_gpu(store: Store, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    config = settings(store, train__accelerator="cuda", train__precision="bf16-mixed")
    run = finished(config, store, tmp_path / "run")
    assert all(np.isfinite(line["train_loss"]) for line in comparable_log(run))


def test_training_goes_on_where_compiling_fails(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiler(*given: Any, **named: Any) -> Any:
        raise RuntimeError("no compiler here")

    plain = finished(settings(store, train__epochs=1), store, tmp_path / "plain")
    monkeypatch.setattr(torch, "compile", compiler)
    said: list[str] = []
    run = RunDir(tmp_path / "compiled")
    train(settings(store, train__epochs=1, train__compile="true"), store, run, say=said.append)
    assert comparable_log(run) == comparable_log(plain)
    told = "train.compile: networks run as they are, as compiling fails here (no compiler here)"
    assert said.count(told) == 4  # two branches, the copy under attack and that of the averages


def test_a_lack_of_memory_names_the_setting(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("medrobust.step.training_attack", starved)
    with pytest.raises(MedrobustError, match=r"train\.batch_size = 16: lower train\.batch_size"):
        finished(settings(store), store, tmp_path / "run")
