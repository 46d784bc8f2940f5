"""Several processes, on one machine or several, that train or evaluate together."""
