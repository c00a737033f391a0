"""Reading patches: an opened shard set, batches of records from disks, maps or buckets, the cache, mixtures of sets."""
