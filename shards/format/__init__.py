"""What a shard set is on disk: layout, containers, payloads, the manifest and its columns, commit, verification, filters."""
