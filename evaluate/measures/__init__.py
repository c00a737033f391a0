"""Measures: pure functions of arrays, each with the source of its definition; no disk and no page.

Distances, spectra, dots, reconstruction, memorisation and copies, control and utility, AUROCs, intervals.
"""
