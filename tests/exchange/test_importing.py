import os
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from published_resnet import network
from safetensors.torch import save_file

from medrobust import checkpoints
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.exchange.importing import Wanted, import_weights
from medrobust.models import fit_model, restore_model
from medrobust.rundir import RunDir, store_name

FIVE = ("nodule", "consolidation", "effusion", "pneumothorax", "cardiomegaly")
"""The findings of the phantom's store."""
Contents = Callable[[Path], dict[str, bytes]]


def saved(tmp_path: Path, **kind: Any) -> Path:
    """A checkpoint as the published code writes it."""
    path = tmp_path / "checkpoint_best.pth"
    torch.save(network(kind.pop("kind", "resnet18"), **{"width": 4} | kind).state_dict(), path)
    return path


def images(channels: int = 1, side: int = 48) -> torch.Tensor:
    return torch.rand(3, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["resnet18", "resnet50"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("outputs", [1, 8])
def test_both_branches_are_the_published_network(
    tmp_path: Path, kind: str, channels: int, outputs: int
) -> None:
    path = saved(tmp_path, kind=kind, channels=channels, outputs=outputs)
    import_weights(path, tmp_path / "run")
    model = restore_model(RunDir(tmp_path / "run")).model
    oracle = network(kind, channels=channels, outputs=outputs, width=4)
    assert model.branches == ("clean", "adv")
    with torch.no_grad():
        expected = [oracle(images(channels), domain) for domain in (0, 1)]
        for branch, logits in zip(model.branches, expected, strict=True):
            torch.testing.assert_close(
                model.branch(branch)(images(channels)), logits, rtol=0, atol=1e-5
            )
    assert (expected[0] - expected[1]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["resnet18", "resnet34", "resnet50"])
def test_a_plain_resnet(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path, kind=kind, domains=1)
    told = import_weights(path, tmp_path / "run", Wanted(regime="adversarial"))
    model = restore_model(RunDir(tmp_path / "run")).model
    assert (model.branches, told.regime) == (("single",), "adversarial")
    with torch.no_grad():
        expected = network(kind, width=4, domains=1)(images(3))
        torch.testing.assert_close(model.branch("single")(images(3)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net"])
def test_one_level_down_in_another_precision_and_without_counters(
    tmp_path: Path, wrapper: str
) -> None:
    tensors = torch.load(saved(tmp_path), weights_only=True)
    inner = {
        f"module.{name}": tensor.double()
        for name, tensor in tensors.items()
        if "num_batches" not in name
    }
    torch.save({"epoch": 3, wrapper: inner}, tmp_path / "wrapped.pth")
    import_weights(tmp_path / "wrapped.pth", tmp_path / "run")
    import_weights(saved(tmp_path), tmp_path / "plain")
    found, expected = (
        restore_model(RunDir(tmp_path / name)).model.branch("adv") for name in ("run", "plain")
    )
    assert torch.equal(found(images(3)), expected(images(3)))


def test_grey_images_through_one_channel_give_what_three_equal_ones_gave(tmp_path: Path) -> None:
    wanted = Wanted(channels=1, mean=[0.4], spread=[0.2])
    told = import_weights(saved(tmp_path), tmp_path / "run", wanted)
    model = restore_model(RunDir(tmp_path / "run")).model
    assert told.channels == 1
    assert told.input_mean == (0.4,)
    grey = images(1)
    with torch.no_grad():
        for domain, branch in enumerate(model.branches):
            expected = network("resnet18", width=4)(
                (grey.expand(-1, 3, -1, -1) - 0.4) / 0.2, domain
            )
            torch.testing.assert_close(model.branch(branch)(grey), expected, rtol=0, atol=1e-5)


def test_normalisation_of_each_channel(tmp_path: Path) -> None:
    mean, spread = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    import_weights(saved(tmp_path), tmp_path / "run", Wanted(mean=mean, spread=spread))
    model = restore_model(RunDir(tmp_path / "run")).model
    shape = (3, 1, 1)
    given = (images(3) - torch.tensor(mean).reshape(shape)) / torch.tensor(spread).reshape(shape)
    with torch.no_grad():
        torch.testing.assert_close(
            model.branch("adv")(images(3)),
            network("resnet18", width=4)(given, 1),
            rtol=0,
            atol=1e-5,
        )


def test_what_the_run_directory_says(tmp_path: Path, contents: Contents) -> None:
    path, out = saved(tmp_path, outputs=2), tmp_path / "published" / "7"
    import_weights(path, out, Wanted(eps=0.01, size=64))
    run = RunDir(out)
    assert set(contents(out)) == {
        *("DONE", "config.yaml", "provenance.json", "checkpoints"),
        *("checkpoints/best.safetensors", "checkpoints/best.json"),
    }
    config, provenance = run.config(), run.provenance()
    assert (config.name, config.seed, config.regime) == ("published", 7, "dual")
    assert (config.network.name, config.network.width) == ("resnet18", 4)
    assert (config.attack.norm, config.attack.eps) == ("linf", 0.01)
    assert provenance["imported"] == {
        "file": "checkpoint_best.pth",
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "branch": "",
    }
    assert provenance["store"] == {"name": "", "path": "", "checksum": ""}
    assert run.is_done
    assert checkpoints.load(run.checkpoints, "best").state["model"] == {
        "findings": ["finding-1", "finding-2"],
        "task": "multilabel",
        "channels": 3,
        "size": [64, 64],
    }


def test_a_run_that_is_no_seed_is_named_by_its_folder(tmp_path: Path) -> None:
    import_weights(saved(tmp_path), tmp_path / "published")
    config = RunDir(tmp_path / "published").config()
    assert (config.name, config.seed) == ("published", 0)


class TestStores:
    """With and without the store of the training."""

    def test_the_training_store_tells_size_and_is_remembered(
        self, tmp_path: Path, tiny_store: Store
    ) -> None:
        path = saved(tmp_path, outputs=5)
        wanted = Wanted(findings=FIVE, channels=1, store=tiny_store.path)
        told = import_weights(path, tmp_path / "run", wanted)
        run = RunDir(tmp_path / "run")
        assert told.size == (32, 32)
        assert run.training_store().checksum == tiny_store.checksum
        assert store_name(run, tiny_store) == "phantom"

    def test_without_it_any_store_of_the_same_kind_is_another_one(
        self, tmp_path: Path, tiny_store: Store
    ) -> None:
        path = saved(tmp_path, outputs=5)
        import_weights(path, tmp_path / "run", Wanted(findings=FIVE, channels=1, size=32))
        run = RunDir(tmp_path / "run")
        assert fit_model(run, tiny_store).aligned.store is tiny_store
        assert store_name(run, tiny_store) == f"phantom-{tiny_store.checksum[:8]}"
        with pytest.raises(MedrobustError) as refused:
            run.training_store()
        assert str(refused.value) == (
            f"{run.path}: expected the training store, but this run was imported without one; "
            "name a store with --store, or import again with --store"
        )

    def test_names_are_not_guessed_from_it(self, tmp_path: Path, tiny_store: Store) -> None:
        path = saved(tmp_path, outputs=5)
        refuse(
            path,
            Wanted(channels=1, store=tiny_store.path),
            "--store: expected --findings with it, in the order of the 5 outputs; the store has "
            "nodule, consolidation, effusion, pneumothorax, cardiomegaly",
        )

    def test_in_another_order_it_does_not_fit(self, tmp_path: Path, tiny_store: Store) -> None:
        names = [*FIVE[1:], FIVE[0]]
        refuse(
            saved(tmp_path, outputs=5),
            Wanted(findings=names, channels=1, store=tiny_store.path),
            f"{tiny_store.path}: expected findings {names}, as {tmp_path / 'run'} was trained, "
            f"found {list(FIVE)}; give a store prepared in the same way",
        )

    def test_of_other_channels_it_does_not_fit(self, tmp_path: Path, tiny_store: Store) -> None:
        refuse(
            saved(tmp_path, outputs=5),
            Wanted(findings=FIVE, store=tiny_store.path),
            f"{tiny_store.path}: expected channels 3, as {tmp_path / 'run'} was trained, "
            "found 1; give a store prepared in the same way",
        )


def refuse(path: Path, wanted: Wanted, message: str) -> None:
    """Expect the error, and that nothing is left of the run."""
    out = path.parent / "run"
    before = {inside.name for inside in path.parent.iterdir()}
    with pytest.raises(MedrobustError) as refused:
        import_weights(path, out, wanted)
    assert str(refused.value) == message
    assert {inside.name for inside in path.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            Wanted(findings=("a", "b")),
            "--findings: expected 1 names, one for each output of {path}, found 2",
        ),
        (Wanted(channels=2), "--channels: expected 3 or 1, as {path} has, found 2"),
        (
            Wanted(channels=1, mean=(0.1, 0.2, 0.3)),
            "--channels 1: expected one mean and one spread for all three channels, found "
            "(0.1, 0.2, 0.3) and (1.0, 1.0, 1.0); it can't be made grey",
        ),
        (Wanted(mean=(0.1, 0.2)), "{path}: input_mean: expected 3 numbers, found 2"),
        (Wanted(spread=(0.0,)), "{path}: input_spread.0: input should be greater than 0"),
        (Wanted(mean=(float("nan"),)), "{path}: input_mean.0: input should be a finite number"),
        (Wanted(regime="standard"), "--regime: {path} has two branches, found 'standard'"),
        (Wanted(findings=("macro",)), "{path}: findings: 'macro' is the name of something else"),
        (
            Wanted(task="exclusive"),
            "{path}: task: expected several findings that exclude each other, found one",
        ),
        (
            Wanted(eps=4),
            "{run}: attack.eps: expected a radius between 0 and 1, in units of the image's range "
            "(4/255 rather than 4), found 4.0",
        ),
        (
            Wanted(store=Path("nowhere")),
            "expected a store at nowhere, found no such folder: give the folder "
            "`medrobust prepare` wrote",
        ),
    ],
)
def test_what_is_told_does_not_fit(tmp_path: Path, wanted: Wanted, message: str) -> None:
    path = saved(tmp_path)
    refuse(path, wanted, message.format(path=path, run=tmp_path / "run"))


def test_an_existing_folder(tmp_path: Path, contents: Contents) -> None:
    path = saved(tmp_path)
    import_weights(path, tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(MedrobustError) as refused:
        import_weights(path, tmp_path / "run")
    assert str(refused.value) == (
        f"{tmp_path / 'run'} exists already: choose another folder for the run, or remove that one"
    )
    assert contents(tmp_path) == before


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_numbers(tmp_path: Path, value: float) -> None:
    tensors = torch.load(saved(tmp_path), weights_only=True)
    tensors["layer1.0.bn1.bns.1.running_var"][0] = value
    torch.save(tensors, tmp_path / "checkpoint_best.pth")
    refuse(
        tmp_path / "checkpoint_best.pth",
        Wanted(),
        f"{tmp_path / 'checkpoint_best.pth'}: expected finite weights, found NaN or infinity in "
        "adv/layer1.0.bn1.running_var; has that training diverged? Take an earlier checkpoint",
    )


def test_tensors_too_many(tmp_path: Path) -> None:
    tensors = torch.load(saved(tmp_path), weights_only=True) | {"fc2.bias": torch.zeros(3)}
    torch.save(tensors, tmp_path / "checkpoint_best.pth")
    refuse(
        tmp_path / "checkpoint_best.pth",
        Wanted(),
        f"{tmp_path / 'checkpoint_best.pth'}: weights of another network; missing nothing, "
        "not expected fc2.bias",
    )


class Trap:
    """What a hostile pickle would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, writer: str, inside: bool) -> None:
    path, sprung = tmp_path / "checkpoint_best.pth", tmp_path / "sprung"
    tensors = network("resnet18", width=4).state_dict()
    hostile = {**tensors, "optimiser": Trap(sprung)} if inside else Trap(sprung)
    if writer == "torch":
        torch.save(hostile, path)
    else:
        path.write_bytes(pickle.dumps(hostile))
    refuse(
        path,
        Wanted(),
        f"{path}: expected tensors in a .safetensors file or in a .pth that holds nothing else; "
        "this one is damaged or holds other objects, which are never loaded",
    )
    assert not sprung.exists()


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").is_dir()


def test_no_file(tmp_path: Path) -> None:
    refuse(tmp_path / "gone.pth", Wanted(), f"weights: no file {tmp_path / 'gone.pth'}")


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"PK\x03\x04", bytes(100)])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(MedrobustError, match=r"expected tensors in a \.safetensors file"):
        import_weights(path, tmp_path / "run")


def test_safetensors_without_a_description_are_recognised_by_their_names(tmp_path: Path) -> None:
    save_file(network("resnet18", width=4).state_dict(), tmp_path / "w.safetensors")
    told = import_weights(tmp_path / "w.safetensors", tmp_path / "run")
    assert (told.network.name, told.regime) == ("resnet18", "dual")
