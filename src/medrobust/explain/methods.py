"""The saliency methods by name."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from medrobust.errors import MedrobustError
from medrobust.explain.grad_cam import grad_cam
from medrobust.explain.saliency import (
    gradient,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    smooth_grad,
)


@dataclass(frozen=True)
class Method:
    """A way to make maps; call it with (network, images, finding)."""

    name: str
    function: Callable[..., Tensor]
    """(network, images (N, C, ...) in [0, 1], finding, **options) -> maps (N, ...)."""
    looks_inside: bool = False
    """Whether it needs the network's layers as they are, not its outputs alone."""

    def __call__(self, network: nn.Module, images: Tensor, finding: int) -> Tensor:
        """Maps (N, H, W) or (N, D, H, W) of images (N, C, ...) for a logit's column."""
        return self.function(network, images, finding)

    @property
    def options(self) -> tuple[str, ...]:
        """What `method_named` can set."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("gradient", gradient),
        Method("gradient-x-input", gradient_x_input),
        Method("smooth-grad", smooth_grad),
        Method("integrated-gradients", integrated_gradients),
        Method("grad-cam", grad_cam, looks_inside=True),
        Method("occlusion", occlusion),
    )
}


def method_named(name: str, **options: Any) -> Method:
    """A method with some of its options set, such as `method_named("grad-cam", layer="layer4")`.

    Raises:
        MedrobustError: no such method, or an option that it does not have.
    """
    if name not in METHODS:
        raise MedrobustError(_expected("method", METHODS, name))
    method = METHODS[name]
    for option in options:
        if option not in method.options:
            raise MedrobustError(_expected(f"{name}: option", method.options, option))
    return replace(method, function=partial(method.function, **options))


def _expected(what: str, names: Mapping[str, Any] | tuple[str, ...], found: str) -> str:
    near = difflib.get_close_matches(found, names, 1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{what}: expected one of {', '.join(names) or 'none'}, found {found!r}{hint}"
