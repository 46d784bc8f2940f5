"""Where a model looks: maps, and how well they find the lesion."""
