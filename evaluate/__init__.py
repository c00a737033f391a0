"""What a model is worth: measures (pure functions), sections of a report, and the study that they share."""
