"""The conversation on a terminal: its state, its lines, its commands."""
