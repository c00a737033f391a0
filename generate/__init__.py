"""Samples by condition from a trained model: images, contact sheets and a table of what each file is."""
