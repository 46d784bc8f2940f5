"""Changes that nobody aimed: what acquisition, storage and positioning do to images."""

from medrobust.corruptions.catalogue import (
    CORRUPTIONS,
    SEVERITIES,
    Corruption,
    check_corruption,
    corrupt,
)

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "check_corruption", "corrupt"]
