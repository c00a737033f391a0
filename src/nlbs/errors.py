"""The errors that a command explains in one sentence and ends with exit code 1.

Each takes one message argument only: an exception with an ``__init__`` of its own cannot be
sent back from a worker process. The message says what was found, where, what was expected
and what to do.
"""


class NlbsError(Exception):
    """Any problem that the person who runs the command can mend."""


class ConfigError(NlbsError):
    """An option or a configuration file that does not make sense."""


class DatasetError(NlbsError):
    """A metadata CSV or a folder of images that cannot be used."""


class ShardError(NlbsError):
    """A dataset root or a shard set that is missing, damaged or of another format version."""


class CheckpointError(NlbsError):
    """A checkpoint that is missing, damaged or of another architecture."""


class EvaluationError(NlbsError):
    """A figure that cannot be computed from what was given."""


class ObjectStoreError(NlbsError):
    """An object store that cannot be reached, or refuses what is asked of it."""


class ImageError(NlbsError):
    """One image that cannot be used: the run goes on, ``status`` and message stand in images.csv."""

    status = "image_error"
