"""One short file per data set: its card, `index()` and `read()`."""
