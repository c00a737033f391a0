"""The sections of a report: each takes a study and returns figures, pictures and sentences."""
