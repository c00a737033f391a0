"""An image file of any kind becomes stored values, and the header fields that give them a meaning."""
