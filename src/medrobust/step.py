"""One step of training: attack, loss, update."""

from dataclasses import dataclass
from typing import Any

from lightning.fabric import Fabric
from torch import Tensor, nn

from medrobust.config import Config
from medrobust.data.augment import Augmentation
from medrobust.folding import Fast, FoldedCopies, as_it_is
from medrobust.losses import Loss
from medrobust.models import training_attack
from medrobust.optimise import learning_rate
from medrobust.parallel.group import Group
from medrobust.parallel.norms import running_statistics
from medrobust.randomness import image_keys, key, seeded
from medrobust.regimes import Batch, regime_of
from medrobust.state import State


@dataclass
class TrainingStep:
    """One update of the weights by one batch."""

    fabric: Fabric
    config: Config
    loss: Loss
    state: State
    wrapped: Any
    """The model as Fabric wraps it; its forward takes care of precision."""
    optimiser: Any
    group: Group
    copies: FoldedCopies
    rate: float = 0.0

    def __post_init__(self) -> None:
        apart = self.config.train.norms == "per-process"
        self.statistics = running_statistics(self.state.model) if apart else []
        self.regime = regime_of(self.config.regime, self.config.attack.part)
        self.augment = Augmentation(**self.config.augment.model_dump())
        self.dtype = next(self.state.model.parameters()).dtype

    def __call__(self, batch: Batch, steps_per_epoch: int) -> Tensor:
        """The batch's loss before the update; it stays on the device."""
        state = self.state
        self.rate = learning_rate(self.config.train, state.step, steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self.wrapped.train()
        self.optimiser.zero_grad(set_to_none=True)  # before the attack, which can use the memory
        purpose = key(self.config.seed, "step", state.step, *self.group.apart)
        augmented = self._augmented(batch)  # in full precision
        with seeded(purpose, augmented.images.device), self.fabric.autocast():
            loss = self.regime(self.wrapped, augmented, self._attack, self.loss)
        self._update(loss)
        state.step += 1
        if state.average:
            state.average.update(state.step)
        return loss.detach()

    def _attack(self, network: nn.Module, images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        """That of the epoch, on a copy of the network that takes less time."""
        state = self.state
        attack = training_attack(self.config, self.loss, state.epoch, state.collapsed)
        with self.fast(network, images) as fast:
            return attack(fast, images, labels, keys)

    @property
    def fast(self) -> Fast:
        """How these settings make a network fast for an attack."""
        plain = not self.config.attack.folded or self.config.regime == "noise"
        return as_it_is if plain else self.copies.of

    def _augmented(self, batch: Batch) -> Batch:
        keys = image_keys(key(self.config.seed, "augment", self.state.epoch), batch.rows)
        images = self.augment(batch.images, keys).to(self.dtype)
        return Batch(images, batch.labels, batch.keys, batch.rows)

    def _update(self, loss: Tensor) -> None:
        self.fabric.backward(loss)
        if self.config.train.gradient_clip:
            self.fabric.clip_gradients(
                self.wrapped, self.optimiser, max_norm=self.config.train.gradient_clip
            )
        self.optimiser.step()
        self.group.average(self.statistics)
