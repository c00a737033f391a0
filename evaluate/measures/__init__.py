"""Measures: pure functions of arrays, each with the source of its definition; no disk, no page, no model but as an argument.

Distances, spectra, dots, reconstruction, memorisation and copies, control and utility by classifiers, AUROCs, intervals.
"""
