"""Shard sets of a dataset root: planned, cut, written, grown by append, converted, repaired; no DICOM is opened."""
