import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medrobust.dual import DualBN
from medrobust.errors import MedrobustError
from medrobust.networks import Classifier, build_backbone
from medrobust.weights import digest, initialise, load_tensors, read_tensors, tensors_of


def model(outputs: int = 2, channels: int = 1, *branches: str) -> DualBN:
    backbone = build_backbone("resnet18", channels=channels, outputs=outputs, width=4)
    return DualBN(
        Classifier(backbone, [0.5] * channels, [0.2] * channels, 2), branches or ("clean", "adv")
    )


def copied(source: DualBN) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors_of(source).items()}


def test_names_are_the_backbones_own_and_those_of_the_other_branch_have_its_name() -> None:
    names = set(tensors_of(model()))
    assert {"layer1.0.conv1.weight", "layer1.0.bn1.weight", "fc.bias", "input_mean"} <= names
    assert {"adv/layer1.0.bn1.weight", "adv/layer1.0.bn1.running_var"} <= names
    assert "adv/layer1.0.conv1.weight" not in names


def test_tensors_round_trip_through_a_file(tmp_path: Path) -> None:
    one, other = model(), model()
    save_file(copied(one), tmp_path / "w.safetensors")
    load_tensors(other, read_tensors(tmp_path / "w.safetensors"), "test")
    assert digest(tensors_of(one)) == digest(tensors_of(other))


def test_digest_depends_on_names_types_shapes_and_values() -> None:
    zero = torch.zeros(2, 3)
    variants = [
        {"a": zero},
        {"b": zero},
        {"a": zero.double()},
        {"a": zero.reshape(3, 2)},
        {"a": zero + 1e-30},
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)
    assert digest({"a": zero, "b": zero + 1}) == digest({"b": zero + 1, "a": zero.clone()})


def test_loading_weights_of_another_network_changes_nothing() -> None:
    target = model()
    before = digest(tensors_of(target))
    tensors = copied(model())
    del tensors["fc.bias"]
    with pytest.raises(MedrobustError, match=r"w: weights of another network; missing fc\.bias"):
        load_tensors(target, tensors, "w")
    with pytest.raises(MedrobustError, match=r"fc\.weight has shape \(3, 32\), expected \(2, 32\)"):
        load_tensors(target, copied(model(3)), "w")
    assert digest(tensors_of(target)) == before


def test_initialising_drops_a_head_of_another_size_and_sums_a_colour_stem() -> None:
    torch.manual_seed(0)
    source, target = model(5, 3, "single"), model(2, 1)
    fresh = copied(target)
    notes = initialise(target, copied(source), "w")
    assert notes == [
        "conv1.weight: 3 input channels summed to one",
        "fc.weight: left fresh, the head has another size",
        "fc.bias: left fresh, the head has another size",
    ]
    given, found = copied(source), copied(target)
    assert torch.equal(found["conv1.weight"], given["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(found["layer2.0.conv1.weight"], given["layer2.0.conv1.weight"])
    assert torch.equal(found["adv/bn1.weight"], given["bn1.weight"])
    assert torch.equal(found["fc.weight"], fresh["fc.weight"])
    assert torch.equal(found["input_mean"], fresh["input_mean"])


def test_a_plain_checkpoint_with_wrappers_prefixes_is_understood(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18", channels=1, outputs=2, width=4)
    state = {f"module.{name}": tensor for name, tensor in backbone.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pth")
    target = model()
    assert initialise(target, read_tensors(tmp_path / "w.pth"), "w") == []
    assert torch.equal(tensors_of(target)["fc.weight"], backbone.fc.weight)


def test_initialising_from_another_network_says_what_is_missing() -> None:
    small = DualBN(build_backbone("small", channels=1, outputs=2, width=4), ("single",))
    with pytest.raises(MedrobustError, match=r"w: conv1\.weight is of shape .* same network\?"):
        initialise(model(), copied(small), "w")


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"w": Malicious(trap)}))
    torch.save({"w": torch.zeros(1), "evil": Malicious(trap)}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(MedrobustError, match="holds other objects, which are never loaded"):
            read_tensors(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_unreadable_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(MedrobustError, match="no file"):
        read_tensors(tmp_path / name)
    for content in (b"", b"\x00" * 100, b"hello" * 50):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MedrobustError, match="is damaged or holds other objects"):
            read_tensors(tmp_path / name)
