"""Watching a network's modules while images pass."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def watched(modules: Iterable[nn.Module], watch: Callable[..., Any]) -> Iterator[None]:
    """While the block runs, `watch(module, given, out)` hears of each pass through these modules.

    `given` is the tuple of what went in, `out` what came out. The network is as before afterwards.
    """
    handles = [module.register_forward_hook(watch) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
