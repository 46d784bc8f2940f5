"""The statistics of a reader study, as pure functions of ratings: agreement, ranks, models, MRMC.

An answer that is missing is NaN: it is left out and counted (`left_out`), never filled in.
"""
