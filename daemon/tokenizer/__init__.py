"""Text to ids and back, also while the text is still being made."""
