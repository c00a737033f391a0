"""A dataset's tables: encoding and separators, dialects, joins, and one row per image with its conditions.

``sheet`` reads cells, ``dialects`` says what columns mean, ``rows`` makes conditions of them, ``table`` all of it.
"""
