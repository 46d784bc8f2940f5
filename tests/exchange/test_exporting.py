import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published_resnet import network
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.exchange.description import Description
from medrobust.exchange.exporting import export_branch
from medrobust.exchange.importing import Wanted, import_weights
from medrobust.models import load_model, restore_model
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def published(tmp_path: Path) -> RunDir:
    """A dual ResNet-18 with random weights."""
    given = network("resnet18", outputs=2, width=4)
    torch.save(given.state_dict(), tmp_path / "weights.pth")
    import_weights(tmp_path / "weights.pth", tmp_path / "published", Wanted(size=48))
    return RunDir(tmp_path / "published")


@pytest.mark.parametrize(("branch", "domain"), [("clean", 0), ("adv", 1)])
def test_a_branch_is_a_plain_resnet_to_everybody_else(
    published: RunDir, tmp_path: Path, branch: str, domain: int
) -> None:
    told = export_branch(published, branch, tmp_path / "branch.safetensors")
    plain = network("resnet18", outputs=2, width=4, domains=1, seed=1)
    plain.load_state_dict(load_file(tmp_path / "branch.safetensors"))  # strictly
    images = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network("resnet18", outputs=2, width=4)(images, domain)
        torch.testing.assert_close(plain(images), expected, rtol=0, atol=1e-5)
    assert not told.normalises


@pytest.mark.parametrize(("branch", "regime"), [("clean", "standard"), ("adv", "adversarial")])
def test_export_and_import_give_the_same_logits_to_the_bit(
    dual_run: RunDir, tiny_store: Store, tmp_path: Path, branch: str, regime: str
) -> None:
    """Of a network with learnt normalisation, and of another architecture than the published."""
    told = export_branch(dual_run, branch, tmp_path / "branch.safetensors")
    again = import_weights(tmp_path / "branch.safetensors", tmp_path / "run")
    assert again == told
    assert (again.regime, again.branch, again.normalises) == (regime, branch, True)
    assert (again.norm, again.eps) == ("linf", 2 / 255)
    first, _ = load_model(dual_run, tiny_store)
    second, _ = load_model(RunDir(tmp_path / "run"), tiny_store)
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu")
    with torch.no_grad():
        assert torch.equal(first.branch(branch)(images), second.branch("single")(images))


def test_a_single_branch(standard_run: RunDir, tmp_path: Path) -> None:
    told = export_branch(standard_run, "single", tmp_path / "branch.safetensors", "last")
    assert (told.regime, told.branch) == ("standard", "single")
    again = import_weights(tmp_path / "branch.safetensors", tmp_path / "run", Wanted(eps=0.01))
    assert again == told.changed("", eps=0.01)


def test_metadata(dual_run: RunDir, tiny_store: Store, tmp_path: Path) -> None:
    export_branch(dual_run, "adv", tmp_path / "branch.safetensors")
    with safe_open(tmp_path / "branch.safetensors", framework="pt") as file:
        said, names = json.loads(file.metadata()["medrobust"]), set(file.keys())
    network = restore_model(dual_run).model.branch("adv")
    assert said["findings"] == tiny_store.findings
    assert (said["task"], said["channels"], said["size"]) == ("multilabel", 1, [32, 32])
    assert (said["network"]["name"], said["network"]["width"]) == ("small", 4)
    assert said["input_mean"] == network.get_buffer("input_mean").flatten().tolist()
    assert said["input_spread"] == network.get_buffer("input_spread").flatten().tolist()
    assert names == set(network.get_submodule("backbone").state_dict())


def test_names_and_order_of_findings_can_be_changed_when_it_comes_back(
    published: RunDir, tmp_path: Path
) -> None:
    export_branch(published, "adv", tmp_path / "branch.safetensors")
    told = import_weights(
        tmp_path / "branch.safetensors", tmp_path / "run", Wanted(findings=("a", "b"), channels=1)
    )
    assert (told.findings, told.channels, told.input_mean) == (("a", "b"), 1, (0.0,))


@pytest.mark.parametrize(
    ("branch", "checkpoint", "out", "message"),
    [
        (
            "single",
            "best",
            "{tmp}/w.safetensors",
            "branch: expected one of clean, adv, found 'single'",
        ),
        (
            "adv",
            "epoch-0009",
            "{tmp}/w.safetensors",
            "checkpoint: no file {run}/checkpoints/epoch-0009.safetensors; there are best, "
            "epoch-0001, last",
        ),
        (
            "adv",
            "best",
            "{tmp}/w.pth",
            "--out: expected a file NAME.safetensors, found {tmp}/w.pth",
        ),
        (
            "adv",
            "best",
            "{run}/checkpoints/best.safetensors",
            "--out: {run}/checkpoints/best.safetensors lies among the run's checkpoints; choose "
            "another place",
        ),
    ],
)
def test_what_can_not_be_exported(
    dual_run: RunDir,
    tmp_path: Path,
    contents: Contents,
    branch: str,
    checkpoint: str,
    out: str,
    message: str,
) -> None:
    before = contents(dual_run.path)
    places = {"tmp": tmp_path, "run": dual_run.path}
    with pytest.raises(MedrobustError) as refused:
        export_branch(dual_run, branch, Path(out.format(**places)), checkpoint)
    assert str(refused.value) == message.format(**places)
    assert contents(dual_run.path) == before
    assert not list(tmp_path.iterdir())


def described(**changes: object) -> str:
    good = Description(
        findings=("a",),
        channels=1,
        size=(32, 32),
        network={"name": "small", "width": 4},
        input_mean=(0.0,),
        input_spread=(1.0,),
    )
    return json.dumps(json.loads(good.model_dump_json()) | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "{path}: its header's 'medrobust' entry: invalid JSON"),
        (described(size=[0, 3]), "{path}: its header's 'medrobust' entry: size.0: input should be"),
        (described(more=1), "{path}: its header's 'medrobust' entry: more: extra inputs are not"),
        (
            described(network={"name": "os:system"}),
            "{path}: expected a network of medrobust's own, found os:system, which is code that a "
            "file of weights must not start; load the tensors in a program of yours",
        ),
        (described(), "{path}: weights of another network; missing bn1.bias, bn1.running_mean"),
        (described(network={"name": "big"}), "network: expected one of small, resnet18"),
        (
            described(network={"name": "small", "options": {"depth": 3}}),
            "network small: these options do not fit",
        ),
    ],
)
def test_headers_that_can_not_be(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"conv1.weight": torch.zeros(4, 1, 3, 3)}, path, metadata={"medrobust": text})
    with pytest.raises(MedrobustError) as refused:
        import_weights(path, tmp_path / "run")
    assert str(refused.value).startswith(message.format(path=path))
    assert [inside.name for inside in tmp_path.iterdir()] == ["w.safetensors"]
