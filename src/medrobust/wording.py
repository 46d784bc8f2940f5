"""Words that depend on numbers."""


def plural(n: int, noun: str, many: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{n:,} {noun if n == 1 else many or noun + 's'}"
