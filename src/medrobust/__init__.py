"""Train, attack, explain and compare medical-image classifiers with dual batch norm."""

__version__ = "0.1.0"
