"""``python -m nlbs.train`` is ``nlbs-train``."""

from nlbs.train.cli import main

main(None)
