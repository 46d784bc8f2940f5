"""`python -m medrobust`, the same as the command `medrobust`."""

from medrobust.cli import main

main()
