"""Weights in and out: the published code's checkpoints, and single branches for other tools."""
