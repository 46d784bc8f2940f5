"""Check again everything a run claims: receipts, attacked images, and every number."""

from functools import partial

from medrobust.data.store import Store
from medrobust.findings import Finding, Verdict, attempted
from medrobust.job import choose_device
from medrobust.rundir import RunDir
from medrobust.sweeping import Track
from medrobust.verify.evidence import Evidence, gather, read_object
from medrobust.verify.flips import check_flips
from medrobust.verify.images import check_attacked
from medrobust.verify.numbers import check_numbers
from medrobust.verify.receipts import check_predictions, check_receipt
from medrobust.verify.saved import check_saved
from medrobust.verify.showing import TOLERANCE, check_shown
from medrobust.verify.thresholds import check_thresholds
from medrobust.verify.trust import MADE_WITH, check_trust
from medrobust.verify.worst import check_worst

__all__ = ["TOLERANCE", "Finding", "Verdict", "verify"]


def verify(
    run: RunDir,
    store: Store | None = None,
    *,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    track: Track = lambda total, title: lambda done: None,
) -> list[Finding]:
    """What was checked of a run, and how it turned out; nothing is written.

    Args:
        run: an evaluated run.
        store: one that was evaluated beside the training store, or that one at another place.
        tolerance: of scores that are compared, absolute and relative.
        device: on which they are.
        track: makes a progress callback.

    Raises:
        MedrobustError: it is no run, or there is no such device.
    """
    evidence, findings = gather(run, store, choose_device(device), track)
    batch = run.config().evaluate.batch_size
    stems = list(evidence.predictions)
    tell = track(len(stems), f"{run.path}: showing images again")
    for stem in stems:
        findings += check_predictions(evidence, stem)
        findings += check_shown(evidence, stem, tolerance, batch)
        findings += check_attacked(evidence, stem, tolerance, batch)
        findings += check_saved(evidence, stem, tolerance, batch)
        findings += check_worst(evidence, stem, tolerance)
        findings += check_thresholds(evidence, stem)
        tell(1)
    findings += check_flips(evidence)
    findings += _receipts(evidence)
    return findings + check_numbers(evidence, track)


def _receipts(evidence: Evidence) -> list[Finding]:
    """Those of predictions, and those of the checks in `trust.csv`."""
    findings, of_checks = [], {}
    for path in sorted(evidence.run.receipts.glob("[!.]*.json")):
        receipt, trouble = attempted("receipt", path.stem, partial(read_object, path))
        findings += trouble
        if receipt is not None and MADE_WITH in receipt:
            of_checks[path.stem] = receipt
        elif receipt is not None:
            findings += check_receipt(evidence, path.stem, receipt)
    return findings + check_trust(evidence, of_checks)
