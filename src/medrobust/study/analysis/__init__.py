"""The analysis of a reader study: tables, figures, a paragraph and a page.

It alone opens the sealed key.
"""
