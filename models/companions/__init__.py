"""What is fitted to a trained model and drawn with it: a flow over its latents, a weak flow beside that, its grain."""
