"""The command line. Heavy packages are imported by the command that needs them."""

from medrobust.cli.main import main

__all__ = ["main"]
