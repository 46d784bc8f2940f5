"""What one wants to see of a store before training: `medrobust inspect`."""

from medrobust.inspection.inspection import Inspection, inspect_store
from medrobust.inspection.page import write_inspection
from medrobust.inspection.terminal import as_text

__all__ = ["Inspection", "as_text", "inspect_store", "write_inspection"]
