"""Peak memory of training: model, optimiser and two steps."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from medrobust.bench.case import Case
from medrobust.bench.comparisons import OURS, PLAIN, our_step, plain_step

_MAKERS: dict[str, Callable[[Case], Callable[[], Tensor]]] = {PLAIN: plain_step, OURS: our_step}


def peaks(case: Case) -> dict[str, float]:
    """MiB that PyTorch had allocated at most, by job."""
    measure = _on_gpu if case.device.startswith("cuda") else _on_processor
    return {name: measure(make, case) / 2**20 for name, make in _MAKERS.items()}


def _on_gpu(make: Callable[[Case], Callable[[], Tensor]], case: Case) -> float:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    _trained(make, case)
    return torch.cuda.max_memory_allocated() - before


def _on_processor(make: Callable[[Case], Callable[[], Tensor]], case: Case) -> float:
    """From the profiler's record of what was taken and given back."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        _trained(make, case)
    held = largest = 0
    events = record.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            largest = max(largest, held)
    return largest


def _trained(make: Callable[[Case], Callable[[], Tensor]], case: Case) -> None:
    job = make(case)
    for _ in range(2):
        job()
