"""From raw files to a store, and from a store to batches."""
