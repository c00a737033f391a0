"""What a shard set is on disk: layout, containers, payloads, manifest and columns, commit, verification, filters."""
