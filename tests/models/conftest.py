"""What the tests of models share with those of the trainer: one thread, and no picture of the losses."""

from tests.train.conftest import no_curve, one_thread

__all__ = ["no_curve", "one_thread"]
