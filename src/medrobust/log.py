"""The log of a training: a JSON line per epoch, a line to read, TensorBoard if wanted."""

import json
from typing import Any

from medrobust.errors import MedrobustError
from medrobust.files import write_text
from medrobust.rundir import RunDir


def append(run: RunDir, record: dict[str, Any], tensorboard: bool = False) -> None:
    """Add an epoch's record to `log.jsonl`."""
    with run.log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    if tensorboard:
        _write_scalars(run, record)


def seconds(run: RunDir) -> float:
    """Of all epochs, whichever process ran them."""
    lines = run.log.read_text(encoding="utf-8").splitlines()
    return sum(float(json.loads(line)["seconds"]) for line in lines)


def check_tensorboard() -> None:
    """Raise `MedrobustError` where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MedrobustError(
            "train.tensorboard needs TensorBoard: pip install 'medrobust[track]'"
        ) from error


def cut_back(run: RunDir, epoch: int) -> None:
    """Drop what was logged after the checkpoint of this epoch; it will be logged again."""
    lines = run.log.read_text(encoding="utf-8").splitlines() if run.log.exists() else []
    write_text(run.log, "".join(f"{line}\n" for line in lines[:epoch]))


def line(record: dict[str, Any], epochs: int) -> str:
    """The record in a line for people; `*` marks the best epoch so far."""
    scores = ", ".join(
        f"{attack} {branch} {value:.3f}"
        for attack, branches in record["validation"].items()
        for branch, value in branches.items()
    )
    mark = " *" if record["best"] else ""
    return (
        f"epoch {record['epoch']}/{epochs}  {record['seconds']:.0f} s  "
        f"loss {record['train_loss']:.4f}  validation AUROC: {scores}{mark}"
    )


def _write_scalars(run: RunDir, record: dict[str, Any]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run.path / "tensorboard")) as writer:
        for name in ("train_loss", "learning_rate", "validation_loss", "score"):
            writer.add_scalar(name, record[name], record["step"])
        for attack, branches in record["validation"].items():
            for branch, value in branches.items():
                name = f"validation/{attack}/{branch}"
                writer.add_scalar(name, value, record["step"])
