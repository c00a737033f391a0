"""What a person sees: the lines at the end of a command, contact sheets, and one HTML page."""
