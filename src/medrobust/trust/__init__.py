"""Can a robustness number be believed? Checks of the attack that gave it.

A number from an attack is an upper bound: a weak attack, or a network that hides its gradient,
makes it too good. The checks are those of Carlini et al. 2019, "On evaluating adversarial
robustness" (arXiv 1902.06705), Athalye et al. 2018 (arXiv 1802.00420, section 3.1) and AutoAttack
(arXiv 2003.01690, `checks`).
"""

from medrobust.trust.check import CHECKS, TrustBudget, check_trust
from medrobust.trust_table import Check

__all__ = ["CHECKS", "Check", "TrustBudget", "check_trust"]
