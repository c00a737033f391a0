"""What a patch looks like on disk: containers, manifest, order, reader. No torch, no DICOM."""

from nlbs.shards.reading.shard_set import ShardSet, open_shards

__all__ = ["ShardSet", "open_shards"]
