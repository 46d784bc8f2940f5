"""Latin squares: every condition once in every row and once in every column."""

Square = tuple[tuple[int, ...], ...]
"""Rows of conditions 0..n-1; a column is a period."""


def williams(conditions: int) -> tuple[Square, ...]:
    """One square of an even number of conditions, two of an odd one, balanced for carry-over.

    In them together every condition is followed by every other one equally often (Williams,
    Aust. J. Sci. Res. A 2, 149, 1949): the first row is 0, 1, n-1, 2, n-2, …, the others add 1;
    the second square has the rows of the first one backwards.
    """
    first = [(step + 1) // 2 if step % 2 else -(step // 2) for step in range(conditions)]
    square = tuple(
        tuple((shift + step) % conditions for step in first) for shift in range(conditions)
    )
    if conditions % 2 == 0 or conditions == 1:
        return (square,)
    return square, tuple(row[::-1] for row in square)
