"""PGD of other libraries on the same network with as many steps, where they can be imported."""

import importlib
import warnings
from collections.abc import Callable

from torch import Tensor, nn

from medrobust.bench.case import RADIUS, STEPS, Case


def rivals(case: Case, network: nn.Module) -> tuple[dict[str, Callable[[], object]], list[str]]:
    """Jobs by library, and which are left out and why.

    They know exclusive classes only: each image's class is the number of its first label that is
    positive, which leaves the work of a step as it is.
    """
    images, classes = case.images, case.labels.argmax(1)
    jobs: dict[str, Callable[[], object]] = {}
    left_out = []
    for name, make in (("foolbox", _foolbox), ("torchattacks", _torchattacks)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their own concern
                attack = make(network)
        except Exception as error:  # libraries fail to import in many ways
            left_out.append(f"{name} is left out: {str(error).splitlines()[0]}")
            continue
        jobs[name] = lambda attack=attack: attack(images, classes)  # type: ignore[misc]
    return jobs, left_out


def _foolbox(network: nn.Module) -> Callable[[Tensor, Tensor], object]:
    foolbox = importlib.import_module("foolbox")
    network.eval()
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device=next(network.parameters()).device)
    attack = foolbox.attacks.LinfPGD(rel_stepsize=2.5 / STEPS, steps=STEPS)
    return lambda images, classes: attack.run(model, images, classes, epsilon=RADIUS)


def _torchattacks(network: nn.Module) -> Callable[[Tensor, Tensor], object]:
    torchattacks = importlib.import_module("torchattacks")
    attack = torchattacks.PGD(network, eps=RADIUS, alpha=2.5 * RADIUS / STEPS, steps=STEPS)
    return lambda images, classes: attack(images, classes)
