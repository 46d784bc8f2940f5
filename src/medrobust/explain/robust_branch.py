"""Whether a branch is robust, so that what changes its decision is likely to be seen."""

import numpy as np

from medrobust.explain.subject import Subject
from medrobust.metrics import MACRO, read_metrics
from medrobust.regimes import BRANCHES

KEPT = 0.5
"""Share of its lead over chance that a robust branch keeps under attack."""
ATTACKED = ("adversarial", "dual")
"""Regimes whose last branch is trained on attacked images."""


def judged_robust(subject: Subject, branch: str) -> tuple[bool, str]:
    """Whether a branch is robust, and how that is known.

    It is if the worst attack on it at the radius of its training leaves at least half of the lead
    that its macro AUROC has over chance, in `metrics.csv` (split test of the training store). Where
    none was evaluated, if it was trained on attacked images.
    """
    settings = subject.run.config()
    clean, attacked = _aurocs(subject, branch)
    if np.isnan(clean) or np.isnan(attacked):
        trained = settings.regime in ATTACKED and branch == BRANCHES[settings.regime][-1]
        return trained, f"regime {settings.regime}; no attack on this branch was evaluated"
    norm, eps = settings.attack.norm, settings.attack.eps
    radius = f"{255 * eps:.4g}/255" if norm == "linf" else f"{eps:.4g}"
    reason = f"AUROC {clean:.3f} clean, {attacked:.3f} attacked with {norm} ε = {radius}"
    return clean > 0.5 and attacked - 0.5 >= KEPT * (clean - 0.5), reason


def _aurocs(subject: Subject, branch: str) -> tuple[float, float]:
    """Macro AUROC of the branch clean, and under the worst attack on it; NaN where unknown."""
    run = subject.run
    if not run.metrics.is_file():
        return np.nan, np.nan
    attack, home = run.config().attack, run.provenance()["store"]["name"]
    rows = read_metrics(run.metrics)
    same = (rows["branch"] == branch) & (rows["checkpoint"] == subject.checkpoint)
    same &= (rows["store"] == home) & (rows["group"] == "all") & (rows["split"] == "test")
    rows = rows[same & (rows["metric"] == "auroc") & (rows["finding"] == MACRO)]
    clean = rows[rows["attack"] == ""]
    at_radius = (rows["norm"] == attack.norm) & np.isclose(rows["eps"], attack.eps, rtol=1e-4)
    attacked = rows[at_radius & (rows["attacked_branch"] == branch)]
    attacked = attacked[attacked["goal"].isin(["", "total"])]
    return float(clean["value"].min()), float(attacked["value"].min())
