"""A dataset root: from the rows of a table to decoded images and their two tables.

``intake`` is the way of every command that takes images in; ``ingest`` runs it in fenced processes.
"""
