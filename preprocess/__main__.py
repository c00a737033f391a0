"""``python -m nlbs.preprocess``."""

from nlbs.preprocess.cli import main

main(None)
