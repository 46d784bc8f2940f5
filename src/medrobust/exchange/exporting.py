"""One branch of a run as a plain network's weights, for tools that know nothing of branches."""

from pathlib import Path

from safetensors.torch import save as to_bytes
from torch import nn

from medrobust.config import Config
from medrobust.errors import MedrobustError
from medrobust.exchange.description import Description
from medrobust.files import write_atomically
from medrobust.models import Restored, restore_model
from medrobust.rundir import RunDir

TRAINED_ON = {"clean": "standard", "adv": "adversarial"}
"""The regime of a network of one branch that was trained on what a branch of a dual one was."""


def export_branch(run: RunDir, branch: str, out: Path, checkpoint: str = "best") -> Description:
    """Write the weights of one branch under the backbone's own names (torchvision's, of a ResNet).

    The file's metadata say what the outputs are, and how the network wants its images; `import`
    reads them. Returns the same.

    Raises:
        MedrobustError: no such branch or checkpoint; `out` is not a `.safetensors` file or lies
            among the run's checkpoints.
    """
    if out.suffix != ".safetensors":
        raise MedrobustError(f"--out: expected a file NAME.safetensors, found {out}")
    if run.checkpoints.resolve() == out.parent.resolve():
        raise MedrobustError(f"--out: {out} lies among the run's checkpoints; choose another place")
    restored = restore_model(run, checkpoint)
    network = restored.model.branch(branch)
    description = _describe(network, branch, restored, run.config())
    backbone = network.get_submodule("backbone")
    tensors = {
        name: tensor.detach().clone().contiguous() for name, tensor in backbone.state_dict().items()
    }
    with write_atomically(out) as temporary:
        temporary.write_bytes(to_bytes(tensors, metadata=description.metadata()))
    return description


def _describe(network: nn.Module, branch: str, restored: Restored, config: Config) -> Description:
    return Description(
        **restored.known,
        network=config.network.model_copy(update={"initialise": None}),
        regime=TRAINED_ON.get(branch, config.regime),
        branch=branch,
        input_mean=tuple(network.get_buffer("input_mean").flatten().tolist()),
        input_spread=tuple(network.get_buffer("input_spread").flatten().tolist()),
        norm=config.attack.norm,
        eps=config.attack.eps,
    )
