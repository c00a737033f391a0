"""Stages: what follows the training of a model, fitted to its latents or renderings, and drawn with.

stage (what a stage is, and which there are), fitted (what stages fit, and its file beside the model), choice (which of
them draws); the flow and, with fewer patches, the weak flow; the grain. See docs/decisions/0021.
"""
