"""The names of the published code: torchvision's ResNets, with a pair of norms for dual batch norm.

In a checkpoint of the dual network every norm has `bns.0.*` for clean and `bns.1.*` for attacked
images (Han et al., Nature Communications 12:4315, 2021): `bn1.bns.0.weight`,
`layer1.0.downsample.1.bns.1.running_mean`. Everything else, and all of a network with single
norms, has torchvision's names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from medrobust.errors import MedrobustError
from medrobust.networks import BACKBONES

WRAPPERS = ("module.", "model.", "net.")
"""What parallel training and outer modules put before every name."""
NORM = re.compile(r"(?P<norm>.+)\.bns\.(?P<branch>\d+)\.(?P<part>[^.]+)")
BLOCK = re.compile(r"layer(?P<stage>[1-4])\.(?P<block>\d+)\.conv(?P<place>[123])\.weight")
RESNETS: Mapping[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}


@dataclass(frozen=True)
class Published:
    """A checkpoint, recognised."""

    network: str
    """The backbone's name here."""
    width: int
    channels: int
    outputs: int
    is_dual: bool
    tensors: dict[str, Tensor]
    """Under the names of `weights`: those of the second branch's norms begin with `adv/`."""


def recognise(tensors: Mapping[str, Tensor], origin: str) -> Published:
    """Tell network and branches from names and shapes.

    Raises:
        MedrobustError: not a 2-D ResNet with torchvision's names, one that is not among
            `BACKBONES`, or one whose norms are not all single or all a pair.
    """
    plain = unwrapped(tensors)
    pairs = {name: found for name in plain if (found := NORM.fullmatch(name))}
    if pairs:
        _check_pairs(pairs.values(), plain, origin)
    named = {_own_name(name): tensor for name, tensor in plain.items()}
    stem, head = _ends(named, origin)
    return Published(
        network=_network(named, origin),
        width=stem.shape[0],
        channels=stem.shape[1],
        outputs=head.shape[0],
        is_dual=bool(pairs),
        tensors=named,
    )


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that all of their names share."""
    found = dict(tensors)
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _own_name(name: str) -> str:
    found = NORM.fullmatch(name)
    if found is None:
        return name
    return ("adv/" if found["branch"] == "1" else "") + f"{found['norm']}.{found['part']}"


def _check_pairs(pairs: Iterable[re.Match[str]], names: Iterable[str], origin: str) -> None:
    """Expect both halves of every norm, and no norm outside the pairs."""
    halves: dict[tuple[str, str], set[str]] = {}
    for found in pairs:
        halves.setdefault((found["norm"], found["part"]), set()).add(found["branch"])
    for (norm, part), branches in sorted(halves.items()):
        if branches != {"0", "1"}:
            there = ", ".join(f"bns.{branch}" for branch in sorted(branches))
            raise MedrobustError(
                f"{origin}: expected {norm}.bns.0.{part} and {norm}.bns.1.{part}, found {there} "
                "only; a part of a dual network can't be used"
                if branches < {"0", "1"}
                else f"{origin}: expected two branches, bns.0 and bns.1, found {there} in {norm}"
            )
    single = sorted(name for name in names if name.endswith("running_mean") and ".bns." not in name)
    if single:
        raise MedrobustError(
            f"{origin}: expected all norms in pairs (bns.0, bns.1) or none, found {single[0]} "
            "beside them"
        )


def _ends(named: Mapping[str, Tensor], origin: str) -> tuple[Tensor, Tensor]:
    """The weights of stem and head."""
    stem, head = named.get("conv1.weight"), named.get("fc.weight")
    fits = stem is not None and stem.ndim == 4 and tuple(stem.shape[2:]) == (7, 7)
    if stem is None or head is None or not fits or head.ndim != 2:
        found = ", ".join(f"{name} {tuple(named[name].shape)}" for name in sorted(named)[:3])
        raise MedrobustError(
            f"{origin}: expected a ResNet with torchvision's names (conv1.weight of 7x7 pixels, "
            f"layer1.0.conv1.weight, fc.weight), found {found}"
        )
    return stem, head


def _network(named: Mapping[str, Tensor], origin: str) -> str:
    places = [found for name in named if (found := BLOCK.fullmatch(name))]
    blocks = {(int(place["stage"]), int(place["block"])) for place in places}
    layers = tuple(sum(stage == s for stage, _ in blocks) for s in (1, 2, 3, 4))
    kind = "bottleneck" if any(place["place"] == "3" for place in places) else "basic"
    name = RESNETS.get((kind, layers))
    if name not in BACKBONES:
        known = ", ".join(name for name in RESNETS.values() if name in BACKBONES)
        raise MedrobustError(
            f"{origin}: expected one of {known}, found "
            f"{name or f'a ResNet of {kind} blocks, {layers} per stage'}"
        )
    return name
