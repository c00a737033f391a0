"""``python -m nlbs.generate``."""

from nlbs.generate.cli import main

main(None)
