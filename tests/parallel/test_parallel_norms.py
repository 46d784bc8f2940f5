import copy
from pathlib import Path

import pytest
import torch
from joint import together
from torch import nn

from medrobust.errors import MedrobustError
from medrobust.parallel.group import join
from medrobust.parallel.norms import running_statistics, synchronise
from medrobust.parallel.place import here

CPU = torch.device("cpu")
CASES = {
    "1-D": (lambda: nn.BatchNorm1d(5, momentum=None), (4, 5)),
    "2-D": (lambda: nn.BatchNorm2d(5, affine=False), (4, 5, 3, 2)),
    "3-D": (lambda: nn.BatchNorm3d(5, eps=0.1), (4, 5, 2, 3, 2)),
    "no statistics": (lambda: nn.BatchNorm1d(5, track_running_stats=False), (4, 5, 3)),
}


def differences(out: str) -> None:
    """In each of two processes: the largest one from PyTorch's norm of the whole batch."""
    group = join(here(), CPU)
    own = slice(group.rank * 2, group.rank * 2 + 2)
    for name, (build, shape) in CASES.items():
        plain = nn.Sequential(build()).double()
        mine = copy.deepcopy(plain)
        synchronise(mine, CPU)
        generator = torch.Generator().manual_seed(0)
        images, slopes = (
            torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)
        )
        images = images * 3 + 100
        for _ in range(2):
            whole, part = images.clone().requires_grad_(), images[own].clone().requires_grad_()
            (plain(whole) * slopes).sum().backward()
            (mine(part) * slopes[own]).sum().backward()
        weights = [p.grad for p in mine.parameters()]
        for gradient in weights:
            torch.distributed.all_reduce(gradient)
        pairs = [(whole.grad[own], part.grad), (plain(images)[own], mine(images[own]))]
        pairs += zip([p.grad for p in plain.parameters()], weights, strict=True)
        pairs += zip(plain.buffers(), mine.buffers(), strict=True)
        assert plain.state_dict().keys() == mine.state_dict().keys()
        if running_statistics(mine):
            pairs.append((plain.eval()(images), mine.eval()(images)))
        worst = max(float((one - other).detach().abs().max()) for one, other in pairs)
        Path(f"{out} {name} {group.rank}").write_text(str(worst))


def test_synchronised_norms_are_pytorchs_over_the_whole_batch(tmp_path: Path) -> None:
    together(2, differences, str(tmp_path / "worst"))
    found = {path.name: float(path.read_text()) for path in tmp_path.iterdir()}
    assert len(found) == 2 * len(CASES)
    assert max(found.values()) < 1e-10, found


def test_parameters_and_buffers_stay_the_same_tensors() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2)))
    before = network.state_dict(keep_vars=True)
    synchronise(network, CPU)
    after = network.state_dict(keep_vars=True)
    assert before.keys() == after.keys()
    assert all(after[name] is tensor for name, tensor in before.items())
    assert type(network[1][0]) is not nn.BatchNorm2d
    assert running_statistics(network) == [network[1][0].running_mean, network[1][0].running_var]


def test_a_norm_of_another_class_is_refused() -> None:
    class OwnNorm(nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.Sequential(OwnNorm(2)))
    with pytest.raises(MedrobustError) as error:
        synchronise(network, CPU)
    assert str(error.value) == (
        "train.norms: expected PyTorch's batch norms, found 0.0 (OwnNorm), which can't be "
        "synchronised; set train.norms=per-process"
    )
