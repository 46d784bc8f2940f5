"""The settings of a run: a YAML file plus `section.key=value` overrides, checked before work."""

import copy
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from medrobust.errors import MedrobustError
from medrobust.yaml_settings import complaints, nearest_name, read_yaml


def _fraction(value: Any) -> Any:
    """Numbers may be written as fractions, `4/255`."""
    if not isinstance(value, str) or "/" not in value:
        return value
    try:
        return float(Fraction(value.replace(" ", "")))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError("expected a number such as 0.005 or 4/255") from error


Number = Annotated[float, BeforeValidator(_fraction)]


class Section(BaseModel):
    """A part of the settings in which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Section):
    """Where the images are."""

    store: Path
    """A store made by `medrobust prepare`, relative to where the command runs."""
    on_device: bool = True
    """Keep the training images in memory (on a GPU: in its memory) while they need < 8 GB."""
    shuffle_labels: bool = False
    """Train on labels dealt out at random: a control for `medrobust explain --shuffled`."""


class Network(Section):
    """The backbone; what is not named here goes in `options` to one's own factory."""

    name: str = "resnet50"
    """`small`, `resnet18`, `resnet34`, `resnet50`, `resnet101`, `densenet121`, or
    `package.module:factory`."""
    width: int | None = Field(None, ge=1)
    """Channels of the first stage; the backbone's own default if not given."""
    stem_stride: int | None = Field(None, ge=1, le=4)
    """Stride of the first convolution; not for `densenet121`."""
    stem_pool: bool | None = None
    """Max pooling after the first convolution; only for `resnet…`."""
    options: dict[str, Any] = {}
    """Further arguments of one's own factory."""
    initialise: Path | None = None
    """Earlier weights to start from: safetensors, or a `.pth` of tensors only."""

    @field_validator("options")
    @classmethod
    def _options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if taken := {"channels", "outputs", "dimensions"} & options.keys():
            raise ValueError(f"{min(taken)} follows from the store and can't be set")
        return options

    def arguments(self) -> dict[str, Any]:
        """What the backbone's factory is called with."""
        named = self.model_dump(include={"width", "stem_stride", "stem_pool"}, exclude_none=True)
        return named | self.options


class AttackSettings(Section):
    """The attack of training, and the ball of everything that follows."""

    name: Literal["pgd", "fgsm", "n-fgsm"] = "pgd"
    """The attack of training; that of evaluation is `evaluate.suite`."""
    norm: Literal["linf", "l2"] = "linf"
    """`linf`: largest change of a pixel; `l2`: Euclidean length over all pixels."""
    eps: Number = Field(0.005, ge=0)
    """Radius in units of the image's range [0, 1]."""
    steps: int = Field(10, ge=1)
    """PGD steps in training."""
    growing: bool = False
    """Whether PGD begins with few steps, and has all of `steps` in the last epochs only."""
    step_size: Number | None = Field(None, gt=0)
    """2.5 · eps / steps if not given."""
    restarts: int = Field(1, ge=1)
    """PGD restarts in training."""
    noise: float = Field(2.0, ge=0)
    """Of n-fgsm: the start's radius in units of eps."""
    part: Number = Field(1, gt=0, le=1)
    """Share of each batch that is attacked. Below 1, which is for dual training alone, the
    others are the clean images; with 1 every image is both."""
    guard: bool = True
    """Whether training with one step is watched, and goes on with PGD of `steps` steps should
    networks come out that resist that step alone (catastrophic overfitting)."""
    folded: bool = True
    """Whether the attack takes a copy of the network with batch norms folded into convolutions
    and, on a processor, packed filters: the same function in less time."""


class Augment(Section):
    """Random changes of training images, drawn anew for each image and epoch."""

    rotation: float = Field(8.0, ge=0, le=180)
    """Degrees, uniform in ±."""
    shift: float = Field(0.06, ge=0, le=1)
    """Fraction of the image's side, uniform in ±."""
    scale: float = Field(0.1, ge=0, lt=1)
    """Relative change of size, uniform in ±."""
    brightness: float = Field(0.1, ge=0, le=1)
    """Added to all pixels, uniform in ±."""
    contrast: float = Field(0.2, ge=0, lt=1)
    """Relative change of the distance from the image's mean, uniform in ±."""
    flip: bool = False
    """Left-right; wrong for a chest or any lateralised anatomy."""


class Train(Section):
    """How the weights are found."""

    epochs: int = Field(100, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(64, ge=2)
    """Images of a step."""
    balanced: bool = False
    """Draw classes equally often: exclusive ones, or a single finding's positives and
    negatives. Images of a rare class come several times in an epoch."""
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    """`sgd` is with Nesterov momentum."""
    lr: Number = Field(1e-3, gt=0)
    """The (largest) learning rate."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of sgd."""
    weight_decay: Number = Field(5e-4, ge=0)
    """Of matrices and filters; norms and biases have none."""
    schedule: Literal["one-cycle", "cosine", "multistep", "constant"] = "one-cycle"
    """`one-cycle`: up from a 25th over the first 30 %, then down to a 10,000th; `cosine`: down to
    a 10,000th; `multistep`: see `milestones`."""
    milestones: tuple[int, ...] = (100, 200)
    """Of multistep: the epochs after which the learning rate falls to a tenth."""
    gradient_clip: float | None = Field(1.0, gt=0)
    """Largest Euclidean length of the gradient."""
    ema: float | None = Field(0.995, gt=0, lt=1)
    """Decay of the running average of weights that is validated and deployed."""
    bn_momentum: float = Field(0.1, gt=0, le=1)
    """Of every batch norm's running statistics, in all regimes alike."""
    select: Literal["auto", "clean", "robust", "mean", "last"] = "auto"
    """Validation AUROC that picks the best checkpoint: auto = robust where an attack
    trains, else clean."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs without a better score."""
    validation_steps: int = Field(10, ge=1)
    """PGD steps of robust validation."""
    keep_every: int | None = Field(None, ge=1)
    """Epochs between kept checkpoints; about ten over a run if not given."""
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"
    """Of the network's own arithmetic; losses are in float32 or better."""
    compile: bool = False
    """Whether networks are compiled (`torch.compile`): minutes at first, quicker steps then. Made
    for a GPU; where compiling fails they run as they are, and this is said."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes a CUDA GPU where there is one, else the CPU."""
    processes: int = Field(1, ge=1)
    """Of this machine: they share each batch, each on a GPU of its own, or on CPU cores of its
    own. Under `torchrun` its number counts instead."""
    norms: Literal["synchronised", "per-process"] = "synchronised"
    """Of several processes: batch norms see the whole batch, or each process's part of it."""
    tensorboard: bool = False
    """Also write TensorBoard files; needs `pip install 'medrobust[track]'`."""


class Evaluate(Section):
    """The attacks of evaluation; the norm is that of training unless a command says another."""

    suite: Literal["fast", "strong", "pgd", "apgd", "fgsm", "square"] = "fast"
    """`fast`: APGD on the margin, 20 steps; `strong`: the worst of several; or one attack."""
    eps: tuple[Number, ...] | None = None
    """If not given: `fast` 20 radii up to twice the training radius, `strong` once and twice it,
    others ½, 1 and 2 times."""
    steps: int = Field(20, ge=1)
    """Of a single attack; `fast` and `strong` have budgets of their own."""
    restarts: int = Field(1, ge=1)
    """Of a single attack; each image keeps the one of highest loss."""
    trust_images: int = Field(64, ge=0)
    """Images on which the checks of trust.csv are made; 0: none are."""
    batch_size: int = Field(256, ge=1)
    """Images at a time, here and in validation; it changes results by rounding only."""
    redraws: int = Field(10_000, ge=100)
    """Of the patient-clustered bootstrap."""


class Config(Section):
    """All settings of a run, resolved; written to `config.yaml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The run is written to `runs/<name>/<seed>/`."""
    regime: Literal["standard", "adversarial", "dual", "noise"]
    """What is trained on what; see the design."""
    seed: int = Field(0, ge=0)
    """Of everything random: weights, order, augmentation, attack starts, bootstrap."""
    data: Data
    network: Network = Network()
    attack: AttackSettings = AttackSettings()
    augment: Augment = Augment()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _unpaired(self) -> Self:
        part, size = self.attack.part, self.train.batch_size
        if part == 1:
            return self
        if self.regime != "dual":
            raise ValueError(
                f"attack.part: expected 1 in {self.regime} training, found {part:g}; a share of "
                "attacked images is for dual training"
            )
        if min(int(part * size), size - int(part * size)) < 2:
            raise ValueError(
                "attack.part: expected a share that makes two attacked and two clean images or "
                f"more in a batch of {size}, found {part:g}"
            )
        return self

    @model_validator(mode="after")
    def _radii(self) -> Self:
        for name, eps in [("attack", self.attack.eps)] + [
            ("evaluate", eps) for eps in self.evaluate.eps or ()
        ]:
            check_radius(self.attack.norm, eps, f"{name}.eps")
        return self


def check_radius(norm: str, eps: float, name: str) -> None:
    """Raise ValueError, naming the setting, for a radius that no image in [0, 1] can use."""
    if eps < 0 or (norm == "linf" and eps > 1):
        raise ValueError(
            f"{name}: expected a radius between 0 and 1, in units of the image's range "
            f"(4/255 rather than 4), found {eps}"
        )


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The settings of a YAML file with overrides such as `train.epochs=5`.

    Raises:
        MedrobustError: no such file, bad YAML, an unknown key (the nearest is named), a bad value.
    """
    settings = read_yaml(
        path,
        "configuration",
        given="give a YAML file such as those in configs/",
        held="`section: …` lines",
    )
    return resolve(settings, overrides, str(path))


def resolve(settings: dict[str, Any], overrides: Sequence[str], origin: str) -> Config:
    """Settings from a dictionary with overrides, checked."""
    settings = copy.deepcopy(settings)
    for override in overrides:
        _apply(settings, override)
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        told = complaints(error, lambda name: nearest_name(name, _keys(Config)))
        raise MedrobustError(f"{origin}: {told}") from error


def dump_config(config: Config) -> str:
    """The settings as YAML text that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(settings: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise MedrobustError(f"setting: expected section.key=value, found {override!r}")
    *sections, last = name.strip().split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise MedrobustError(f"setting: {override!r}: {section} is not a section")
    try:
        settings[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MedrobustError(f"setting: {override!r}: {text!r} is not a YAML value") from error


def _keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key's full name."""
    names = []
    for name, field in section.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _keys(field.annotation, f"{prefix}{name}.")
    return names
