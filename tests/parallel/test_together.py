"""Training and validation by two or three processes against the same by one."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from joint import together
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from medrobust import checkpoints, state
from medrobust import train as training
from medrobust.config import Config
from medrobust.data.store import Store, open_store
from medrobust.dual import DualBN, is_sharing
from medrobust.evaluate import evaluate
from medrobust.models import build_model
from medrobust.parallel.group import join
from medrobust.parallel.place import here
from medrobust.rundir import RunDir
from medrobust.train import train
from medrobust.validation import _interleaved, validate

Configure = Callable[..., Config]
DOUBLE = ("train.precision=64-true", "train.epochs=10", "train.ema=0.9")
"""20 steps."""
RUNS = {
    "synchronised": DOUBLE,
    "per-process": (*DOUBLE, "train.norms=per-process"),
    "single": ("train.epochs=10",),
    "unpaired": (*DOUBLE, "train.epochs=2", "attack.part=0.5"),
    "resumed": (*DOUBLE, "train.epochs=4"),
}


class Pair:
    """What two processes made of the `RUNS`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, name: str) -> RunDir:
        return RunDir(self.folder / name)

    def tensors(self, name: str, rank: int) -> dict[str, Tensor]:
        """Weights, buffers, averages and the optimiser's state of one of the processes."""
        return load_file(self.folder / f"{name}-{rank}.safetensors")


def train_all(configs: dict[str, dict[str, Any]], folder: str) -> None:
    """In each of the processes: train everything, and write what it ends with."""
    made: list[Any] = []
    set_up = training._set_up
    training._set_up = lambda *given: made.append(set_up(*given)) or made[-1]
    for name, settings in configs.items():
        config = Config.model_validate(settings)
        said: list[str] = []
        train(config, open_store(config.data.store), RunDir(Path(folder) / name), say=said.append)
        assert bool(said) == (here().rank == 0)
        assert is_sharing(made[-1].state.model)
        tensors = {n: t.contiguous() for n, t in state._everything(made[-1].state).items()}
        save_file(tensors, Path(folder) / f"{name}-{here().rank}.safetensors")


@pytest.fixture(scope="module")
def pair(tiny_store: Store, configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    configs = {name: configure("dual", *changes) for name, changes in RUNS.items()}
    begin_alone(configs["resumed"], tiny_store, RunDir(folder / "resumed"))
    together(2, train_all, {n: c.model_dump(mode="json") for n, c in configs.items()}, str(folder))
    return Pair(folder)


def begin_alone(config: Config, store: Store, run: RunDir) -> None:
    """Two epochs, in this process."""

    def interrupted(batches: Iterator[Any], length: int, title: str) -> Iterator[Any]:
        if title.startswith("epoch 3/"):
            raise KeyboardInterrupt
        return batches

    with pytest.raises(KeyboardInterrupt):
        train(config, store, run, track=interrupted)


def alone(config: Config, store: Store, path: Path) -> dict[str, Tensor]:
    """The same training in one process."""
    train(config, store, RunDir(path))
    return checkpoints.load(RunDir(path).checkpoints, "last").tensors


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", ["synchronised", "unpaired", "resumed"])
def test_synchronised_norms_give_what_one_process_gives(
    pair: Pair, tiny_store: Store, configure: Configure, tmp_path: Path, name: str
) -> None:
    expected = alone(configure("dual", *RUNS[name]), tiny_store, tmp_path / "run")
    assert_equal(pair.tensors(name, 0), expected, 1e-9)
    found = checkpoints.load(pair.run(name).checkpoints, "last").state
    reference = checkpoints.load(tmp_path / "run" / "checkpoints", "last").state
    assert found["best"] == pytest.approx(reference["best"], abs=1e-9)
    assert found["step"] == reference["step"]


class HalvesNorm(_BatchNorm):
    """Batch norm that normalises each half of a batch alone, and notes the mean of both."""

    def _check_input_dim(self, images: Tensor) -> None:
        pass

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        halves = images.chunk(2)
        over = [0, *range(2, images.ndim)]
        with torch.no_grad():
            mean = sum(half.mean(over) for half in halves) / 2
            variance = sum(half.var(over) for half in halves) / 2
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
            self.num_batches_tracked.add_(1)
        return torch.cat(
            [F.batch_norm(h, None, None, self.weight, self.bias, True, 0, self.eps) for h in halves]
        )


def in_halves(model: DualBN) -> DualBN:
    for module in list(model.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, _BatchNorm):
                other = HalvesNorm(norm.num_features, norm.eps, norm.momentum)
                other.weight, other.bias = norm.weight, norm.bias
                module.add_module(name, other)
    return model


def test_norms_per_process_give_what_one_process_gives_that_normalises_each_half_alone(
    pair: Pair,
    tiny_store: Store,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "build_model", lambda *given: in_halves(build_model(*given)))
    expected = alone(configure("dual", *RUNS["per-process"]), tiny_store, tmp_path / "run")
    assert_equal(pair.tensors("per-process", 0), expected, 1e-9)
    synchronised = pair.tensors("synchronised", 0)["fc.weight"]
    assert not torch.allclose(synchronised, expected["fc.weight"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_all_processes_end_with_the_same_bits(pair: Pair, name: str) -> None:
    one, other = pair.tensors(name, 0), pair.tensors(name, 1)
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    kept = checkpoints.load(pair.run(name).checkpoints, "last").tensors
    assert kept.keys() == one.keys()
    assert all(torch.equal(tensor, one[key]) for key, tensor in kept.items())


def test_a_run_of_two_processes_says_so(pair: Pair) -> None:
    assert pair.run("single").provenance()["device"] == "2 × cpu"
    resumed = pair.run("resumed").provenance()
    assert (resumed["device"], [each["device"] for each in resumed["resumed"]]) == (
        *("cpu", ["2 × cpu"]),
    )
    assert pair.run("single").is_done
    assert len(pair.run("single").log.read_text().splitlines()) == 10


@pytest.mark.gpu
@pytest.mark.parametrize("norms", ["synchronised", "per-process"])
def test_two_gpus(tiny_store: Store, configure: Configure, tmp_path: Path, norms: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("fewer than two CUDA devices")
    config = configure(
        "dual", "train.accelerator=cuda", "train.precision=bf16-mixed", f"train.norms={norms}"
    )
    together(2, train_all, {"gpu": config.model_dump(mode="json")}, str(tmp_path))
    one, other = (load_file(tmp_path / f"gpu-{rank}.safetensors") for rank in range(2))
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    assert all(tensor.isfinite().all() for tensor in one.values())


def validate_together(settings: dict[str, Any], out: str) -> None:
    config = Config.model_validate(settings)
    store, device = open_store(config.data.store), torch.device("cpu")
    model = build_model(config, store).double()
    group = join(here(), device)
    found = validate(model, store, config, device, nullcontext, group)
    Path(f"{out}-{group.rank}").write_text(f"{found.score} {found.loss}")


def test_validation_by_three_is_that_by_one(
    tiny_store: Store, configure: Configure, tmp_path: Path
) -> None:
    config = configure("dual")
    assert len(tiny_store.rows("val")) % 3 == 1
    together(3, validate_together, config.model_dump(mode="json"), str(tmp_path / "found"))
    model = build_model(config, tiny_store).double()
    expected = validate(model, tiny_store, config, torch.device("cpu"), nullcontext)
    for rank in range(3):
        found = [float(text) for text in (tmp_path / f"found-{rank}").read_text().split()]
        assert found == pytest.approx([expected.score, expected.loss], abs=1e-12)


def evaluate_together(path: str) -> None:
    notes = evaluate(RunDir(Path(path)))
    assert here().rank == 0 or notes == []


def test_an_evaluation_by_two_is_that_by_one(
    dual_run: RunDir, copy_of: Callable[[RunDir], RunDir], tmp_path: Path
) -> None:
    by_two = copy_of(dual_run)
    config = by_two.path / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("  batch_size: 256", "  batch_size: 3"))  # 6 batches: 16 images
    assert config.read_text() != text
    together(2, evaluate_together, str(by_two.path))
    by_one = RunDir(tmp_path / "one")
    shutil.copytree(dual_run.path, by_one.path)
    (by_one.path / "config.yaml").write_text(config.read_text())
    evaluate(by_one)
    for file in sorted(by_one.predictions.glob("*.csv")):
        assert file.read_bytes() == (by_two.predictions / file.name).read_bytes()
    assert by_one.metrics.read_bytes() == by_two.metrics.read_bytes()
    assert not (by_two.predictions / ".batches").exists()


def test_a_share_of_the_images_is_put_back_in_order() -> None:
    logits = torch.arange(7.0)[:, None]
    parts = [{"clean": {"adv": logits[rank::9]}} if rank < 7 else {} for rank in range(9)]
    assert torch.equal(_interleaved(parts)["clean"]["adv"], logits)
