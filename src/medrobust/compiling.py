"""Networks compiled by `torch.compile`, where that works."""

from collections.abc import Callable

from torch import Tensor, nn

from medrobust.attacks.gradient import frozen


def compile_if_possible(
    network: nn.Module, images: Tensor, say: Callable[[str], None] = lambda text: None
) -> bool:
    """Compile the network in place and let `images` (N, C, ...) pass; whether it worked.

    What a compiler raises, and when, differs between machines: a network that can't be compiled
    stays as it was, and `say` is told why.
    """
    try:
        network.compile()
        with frozen(network):
            network(images)
    except Exception as error:
        network._compiled_call_impl = None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        say(f"train.compile: networks run as they are, as compiling fails here ({reason})")
        return False
    return True
