"""``python -m nlbs.evaluate``."""

from nlbs.evaluate.cli import main

main(None)
