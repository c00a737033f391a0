"""``python -m nlbs``."""

from nlbs.cli import main

main(None)
