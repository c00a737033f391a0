"""What is fitted to the best model of a run once its epochs are over: grain, flow, weak flow."""
