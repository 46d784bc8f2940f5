"""What a check lets pass. Each limit leaves room for chance on about 64 images."""

FALL = 0.02
"""By what share of its whole rise a mean loss may fall where it must not: APGD's step sizes differ
with its number of steps, so that a mean over few images may go down a little."""
LATE = 0.25
"""The share of what 100 steps find that 10 steps may miss. APGD finds nearly all of it early where
the loss is smooth; where it does not, 100 steps may be too few as well."""
RESTARTS = 0.05
"""By how much AUROC or accuracy may be lower with more restarts: three images of 64."""
STRONGER = 0.05
"""The share of images on which a weaker attacker may do better: three of 64, since two were
found on an honest small network at twice the radius it was trained for. One image alone is always
let pass."""
HIGHER = 0.05
"""An attack does better on an image if it raises the loss by this share more, or breaks it."""
NO_GRADIENT = 0.01
"""The share of images without a gradient. With floating point and ReLU a single one may have none;
AutoAttack warns of any."""
DIFFERENT = 1e-4
"""How far two answers to the same image may differ, of the largest logit: beyond rounding, far
below what dropout or added noise do. AutoAttack takes the same number."""
NOISE = 0.5
"""The share of the attack's effect that noise may have. On a linear model of d pixels it has about
1 / √d of it."""
PLANTED = 0.95
"""The share of what a planted weakness offers that the attack must find. It is linear, so that a
working attack finds all of it."""
ROUNDING = 1e-4
"""Differences of this share of a loss (or of 1, for smaller ones) are none."""
