"""Dual batch norm: networks that share every weight except their batch norms.

Han et al., Nature Communications 12:4315 (2021), after Xie et al., AdvProp (CVPR 2020).
"""

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medrobust.errors import MedrobustError


class DualBN(nn.Module):
    """Ordinary networks under one roof, one per branch, sharing all but their batch norms.

    Nothing is routed: `model.clean` and `model.adv` are plain modules, to be attacked, explained
    or exported like any other. With one branch it is just that network.

    Args:
        network: any network that can be deep-copied; 1-D, 2-D or 3-D. It becomes the first
            branch; the others start as its equals, bit for bit.
        branches: their names.

    Raises:
        MedrobustError: a bad name; no batch norm to double; a layer that can't be copied.
    """

    def __init__(self, network: nn.Module, branches: Sequence[str] = ("clean", "adv")) -> None:
        super().__init__()
        self.branches = tuple(branches)
        _check_names(self, self.branches)
        first, *others = self.branches
        self.add_module(first, network)
        for name in others:
            self.add_module(name, twin(network))

    def branch(self, name: str) -> nn.Module:
        """The network of one branch."""
        if name not in self.branches:
            raise MedrobustError(
                f"branch: expected one of {', '.join(self.branches)}, found {name!r}"
            )
        return self.get_submodule(name)

    def forward(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits of every branch named: `{"clean": images, "adv": attacked}`.

        One forward of the whole, so that one backward is right under distributed training.
        """
        return {name: self.branch(name)(batch) for name, batch in images.items()}


def twin(network: nn.Module) -> nn.Module:
    """A copy of `network` with batch norms of its own; all other parameters *are* the original's.

    Buffers are copied, so that running statistics belong to one branch alone.

    Raises:
        MedrobustError: the network has no batch norm, or a layer that can't be deep-copied.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise MedrobustError(
            f"dual batch norm: expected a network with batch norms, found none in "
            f"{type(network).__name__}; use the standard or adversarial regime, or another network"
        )
    own = {id(parameter) for norm in norms for parameter in norm.parameters()}
    shared = {id(p): p for p in network.parameters() if id(p) not in own}
    try:
        return copy.deepcopy(network, dict(shared))  # what the memo holds is not copied
    except Exception as error:
        raise MedrobustError(
            f"dual batch norm: layer {_culprit(network)} can't be deep-copied ({error})"
        ) from error


def is_sharing(model: DualBN) -> bool:
    """Whether the branches still share all parameters outside batch norms, and nothing else."""
    first, *others = (model.branch(name) for name in model.branches)
    return all(_shares(first, other) for other in others)


def _shares(first: nn.Module, other: nn.Module) -> bool:
    norms = {
        f"{name}.{own}" if name else own
        for name, module in first.named_modules()
        if isinstance(module, _BatchNorm)
        for own, _ in module.named_parameters()
    }
    theirs = dict(other.named_parameters())
    return all(
        (theirs[name] is parameter) != (name in norms)
        for name, parameter in first.named_parameters()
    )


def _culprit(network: nn.Module) -> str:
    """The innermost layer that can't be copied."""
    found = type(network).__name__
    for name, module in network.named_modules():
        try:
            copy.deepcopy(module)
        except Exception:  # whatever its own copying raises
            found = f"{name or 'itself'} ({type(module).__name__})"
    return found


def _check_names(model: nn.Module, names: Sequence[str]) -> None:
    good = [n for n in names if n.isidentifier() and not hasattr(model, n)]
    if not names or len(set(good)) != len(names):
        raise MedrobustError(
            f"branches: expected different names such as clean, adv; found {', '.join(names)!r}"
        )
