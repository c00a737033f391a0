"""What is known about an image: conditions, dataset tables, patients and splits."""
