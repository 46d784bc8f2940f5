"""Compiling is tried; what fails runs as it is, and says so. The compiler itself is not run."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from medrobust.compiling import compile_if_possible
from medrobust.folding import FoldedCopies
from medrobust.networks import build_backbone


def network() -> nn.Module:
    return build_backbone("small", channels=1, outputs=1, width=4)


class Compiler:
    """In the place of `torch.compile`; counts what is called, or fails at the first call."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.calls = fails, 0

    def __call__(self, function: Any, *given: Any, **named: Any) -> Any:
        def compiled(*images: Any, **more: Any) -> Any:
            self.calls += 1
            if self.fails:
                raise RuntimeError("no working C++ compiler\nmore words")
            return function(*images, **more)

        return compiled


def test_a_compiled_network_is_used_and_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, one = Compiler(), network()
    monkeypatch.setattr(torch, "compile", compiler)
    names = list(one.state_dict())
    assert compile_if_possible(one, torch.zeros(2, 1, 16, 16))
    assert compiler.calls == 1
    assert one.training
    one(torch.zeros(2, 1, 16, 16))
    assert compiler.calls == 2
    assert list(one.state_dict()) == names
    copy.deepcopy(one)(torch.zeros(2, 1, 16, 16))  # a copy is an ordinary network again
    assert compiler.calls == 2


def test_a_network_that_cannot_be_compiled_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    one = network().eval()
    expected = one(torch.ones(2, 1, 16, 16))
    monkeypatch.setattr(torch, "compile", Compiler(fails=True))
    assert not compile_if_possible(one, torch.zeros(2, 1, 16, 16), said.append)
    assert torch.equal(one(torch.ones(2, 1, 16, 16)), expected)
    assert said == [
        "train.compile: networks run as they are, as compiling fails here (no working C++ compiler)"
    ]


def test_folded_copies_are_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, images = Compiler(), torch.rand(2, 1, 16, 16)
    monkeypatch.setattr(torch, "compile", compiler)
    one = network().eval()
    copies = FoldedCopies(compiled=True)
    for _ in range(2):
        with copies.of(one, images) as fast:
            torch.testing.assert_close(fast(images), one(images), rtol=1e-4, atol=1e-5)
    assert compiler.calls == 3  # once to see whether it works
