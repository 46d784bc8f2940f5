"""Batch norm where a batch is spread over processes.

PyTorch's own `SyncBatchNorm` refuses tensors of the CPU; this is the same for any device, and is
used where PyTorch's is not. Buffers and parameters keep their names and stay the same tensors.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from medrobust.errors import MedrobustError

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm over the images of all processes; in evaluation mode like any other.

    Every process must show as many values; gradients are those of the sum of all losses.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002, as PyTorch has it
        """Any number of dimensions will do."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, as PyTorch has it
        """(N, C, ...) normalised."""
        if not self.training:
            return super().forward(input)
        count = dist.get_world_size() * input.numel() // input.shape[1]
        with torch.no_grad():
            mean, variance = _statistics(input)
            self._note(mean, variance * count / (count - 1))
        out: Tensor = _Normalised.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, mean, variance, self.eps, count
        )
        return out

    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards these, as PyTorch does."""
        if self.running_mean is None or self.running_var is None:
            return
        factor = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            factor = 1 / float(self.num_batches_tracked) if factor is None else factor
        self.running_mean.lerp_(mean.to(self.running_mean), factor or 0.0)
        self.running_var.lerp_(variance.to(self.running_var), factor or 0.0)


class _Normalised(Function):
    """Normalisation by statistics that depend on the inputs of all processes."""

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: int,
    ) -> Tensor:
        context.save_for_backward(images, weight, mean, variance)
        context.eps, context.count = eps, count
        return F.batch_norm(images, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Ioffe & Szegedy 2015, with the two sums taken over all processes.

        PyTorch's gradient for fixed statistics gives the rest.
        """
        images, weight, mean, variance = context.saved_tensors
        (out,) = gradients
        inverse = (variance + context.eps).rsqrt()
        to_images, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            out.contiguous(), images, weight, mean, variance, None, None, False, context.eps,
            [True, True, True],
        )  # fmt: skip
        sums = torch.stack([to_weight, to_bias])
        dist.all_reduce(sums)
        scale = inverse / context.count * (1 if weight is None else weight)
        slope = sums[0] * scale * inverse
        shape = (1, -1, *[1] * (images.ndim - 2))
        to_images -= (sums[1] * scale - slope * mean).view(shape).to(to_images.dtype)
        to_images.addcmul_(images, slope.view(shape).to(images.dtype), value=-1)
        affine = weight is not None
        return (
            to_images, to_weight if affine else None, to_bias if affine else None,
            None, None, None, None,
        )  # fmt: skip


def synchronise(model: nn.Module, device: torch.device) -> None:
    """Make every batch norm one over all processes.

    Raises:
        MedrobustError: a batch norm is of a class of its own, whose doings are not known.
    """
    for name, module in list(model.named_modules()):
        for own, child in list(module.named_children()):
            if isinstance(child, _BatchNorm):
                if type(child) not in _PLAIN:
                    raise MedrobustError(
                        f"train.norms: expected PyTorch's batch norms, found {name}.{own} "
                        f"({type(child).__name__}), which can't be synchronised; set "
                        "train.norms=per-process"
                    )
                module.add_module(own, _synchronised(child, device))


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Running means and variances of every batch norm, of all branches."""
    return [
        buffer
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        for buffer in (module.running_mean, module.running_var)
        if buffer is not None
    ]


def _synchronised(norm: _BatchNorm, device: torch.device) -> nn.Module:
    """The same parameters and buffers in another module; on CUDA PyTorch's, which is fused."""
    if device.type == "cuda":
        fused: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return fused
    twin = SynchronisedBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    twin._parameters, twin._buffers = norm._parameters, norm._buffers
    return twin.train(norm.training)


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) mean and variance over all processes, from each one's own (Chan et al. 1983)."""
    wide = images if images.dtype == torch.float64 else images.float()
    own = torch.stack(torch.batch_norm_update_stats(wide, None, None, 0.0))
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(every, own)
    means, variances = torch.stack(every).unbind(1)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)
