"""Batches: the stream over shards, read ahead, on the device, augmented."""
