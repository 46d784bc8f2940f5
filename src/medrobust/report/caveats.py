"""What a reader must be warned of before believing a number."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from medrobust.data.store import Store
from medrobust.report import text
from medrobust.report.numbers import Numbers
from medrobust.report.read import Run
from medrobust.report.terms import CLEAN, Arm, Condition, Estimate

FEW = 10
"""Positive or negative images below which an interval is called rough."""
NOTABLE = 0.02
"""A smaller loss of AUROC is not worth asking what caused it."""


def caveats(
    runs: Sequence[Run], numbers: Numbers | None, store: Store | None, missing_store: str
) -> list[str]:
    """Every warning, the most general first, each once."""
    found = [
        *_about_store(runs, store, missing_store),
        *_about_runs(runs),
        *(_about_numbers(numbers) if numbers else []),
    ]
    return list(dict.fromkeys(found))


def _about_store(runs: Sequence[Run], store: Store | None, missing: str) -> Iterator[str]:
    if store is None:
        yield (
            f"The store of the runs could not be opened ({missing}): there is no data card, no ROC "
            "curve, no paired comparison and no gallery."
        )
    checksums = {_checksum(run) for run in runs} - {""}
    if len(checksums) > 1:
        names = text.enumeration(sorted({run.store_name for run in runs}))
        yield f"The runs were trained on different stores ({names}; the checksums differ)."
    if store is None:
        return
    if checksums and store.checksum not in checksums:
        yield f"The store {store.info.name} is no longer the one that the runs were trained on."
    if store.info.patients == "unknown":
        yield (
            "Patients are not known: every interval is per image, and too narrow where a patient "
            "has several images."
        )
    duplicates = store.info.counts.get("duplicate_groups", 0)
    if duplicates and not any("duplicate" in w.lower() for w in store.info.warnings):
        yield f"The store has {text.plural(duplicates, 'group')} of duplicate images."
    for warning in store.info.warnings:
        yield f"Data: {warning}"


def _about_runs(runs: Sequence[Run]) -> Iterator[str]:
    checks: dict[str, Callable[[Run], Any]] = {
        (
            "Imported: how the weights were trained is not known, and the settings shown are "
            "defaults"
        ): lambda run: run.provenance.get("imported"),
        "Training has not finished (no DONE)": lambda run: not run.finished,
        "Not evaluated yet, run `medrobust evaluate`": lambda run: run.metrics.empty,
        "The code had uncommitted changes, so that its commit does not identify it": (
            lambda run: run.provenance.get("dirty")
        ),
    }
    for problem, has_it in checks.items():
        if labels := [run.label for run in runs if has_it(run)]:
            yield f"{problem}: {'; '.join(labels)}."
    commits = {str(run.provenance.get("commit") or "unknown")[:8] for run in runs}
    if len(commits) > 1:
        yield f"The runs come from different commits: {text.enumeration(sorted(commits))}."
    recipes = {repr(run.config.get("network")) for run in runs}
    if len(recipes) > 1:
        yield "The runs have different networks; differences are not those of the regime alone."
    radii = {_ball(run) for run in runs if run.regime != "standard"}
    if len(radii) > 1:
        yield "The runs were trained with different attacks; robustness is compared at one radius."


def _about_numbers(numbers: Numbers) -> Iterator[str]:
    for finding in numbers.findings:
        yield from _about_finding(numbers, finding)
    for arm in numbers.arms:
        for run in numbers.runs_of(arm):
            yield from _about_robustness(numbers, arm, run)


def _about_finding(numbers: Numbers, finding: str) -> Iterator[str]:
    found = {
        f"{arm.label}, seed {run.seed}": estimate
        for arm in numbers.arms
        for run in numbers.runs_of(arm)
        if (estimate := numbers.get(run, arm.branch, CLEAN, finding)) is not None
    }
    if not found:
        return
    worst = next((e for e in found.values() if not e.scorable), next(iter(found.values())))
    images = text.plural(int(worst.n), "test image")
    if not worst.scorable:
        yield (
            f"{finding} cannot be scored: {text.count(worst.n_positive)} positive of {images} with "
            "a known label. The macro average leaves it out."
        )
    elif min(worst.n_positive, worst.n - worst.n_positive) < FEW:
        yield (
            f"{finding}: only {text.count(worst.n_positive)} positive of {images}; its intervals "
            "are rough."
        )
    if perfect := [who for who, estimate in found.items() if estimate.value in (0, 1)]:
        yield (
            f"{finding} is separated without error on clean images ({'; '.join(perfect)}): the "
            "interval has no width, which does not mean certainty."
        )


def _about_robustness(numbers: Numbers, arm: Arm, run: Run) -> Iterator[str]:
    who = f"{arm.label}, seed {run.seed}"
    clean = numbers.get(run, arm.branch)
    path = [(c, numbers.get(run, arm.branch, c)) for c in numbers.sweep]
    attacked = [(c, e) for c, e in path if e is not None and e.scorable]
    if clean is None or not clean.scorable:
        return
    better = [c for c, e in attacked if e.value > clean.value]
    if better:
        yield (
            f"{who}: AUROC under {better[0].phrase} is higher than on clean images; the attack "
            "does not work as it should."
        )
    values = [e.value for _, e in attacked]
    if np.any(np.diff(values) > NOTABLE):
        yield f"{who}: AUROC rises with a larger ε; the attack is not doing its best."
    yield from _about_strength(numbers, arm, run, who)
    for condition, found in attacked:
        yield from _about_noise(numbers, who, clean, condition, found, arm, run)


def _about_strength(numbers: Numbers, arm: Arm, run: Run, who: str) -> Iterator[str]:
    """The strong attack must not leave more than the one that is swept."""
    quoted, swept = numbers.training, numbers.swept
    if quoted is None or swept is None or quoted == swept:
        return
    strong, weak = (numbers.get(run, arm.branch, condition) for condition in (quoted, swept))
    if strong and weak and strong.value > weak.value + NOTABLE:
        yield (
            f"{who}: AUROC is higher under {quoted.phrase} ({text.number(strong.value)}) than "
            f"under the weaker {swept.label} ({text.number(weak.value)}); the attack is not doing "
            "its best."
        )


def _about_noise(
    numbers: Numbers,
    who: str,
    clean: Estimate,
    condition: Condition,
    attacked: Estimate,
    arm: Arm,
    run: Run,
) -> Iterator[str]:
    control = numbers.noise_at(condition)
    noise = numbers.get(run, arm.branch, control) if control else None
    if noise is None or not noise.scorable:
        return
    by_noise, by_attack = clean.value - noise.value, clean.value - attacked.value
    if by_noise > NOTABLE and by_noise >= by_attack:
        yield (
            f"{who}: random noise of ε = {text.epsilon(condition.eps, condition.norm)} costs as "
            f"much AUROC ({text.number(by_noise)}) as the attack ({text.number(by_attack)}); the "
            "loss is not a matter of adversarial robustness."
        )


def _checksum(run: Run) -> str:
    return str((run.provenance.get("store") or {}).get("checksum") or "")


def _ball(run: Run) -> tuple[str, float]:
    attack = run.config.get("attack") or {}
    return str(attack.get("norm", "")), float(attack.get("eps", 0))
