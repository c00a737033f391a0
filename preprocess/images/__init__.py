"""One image: from a file's stored values to a mask, display values and the store, as pure functions of arrays."""
