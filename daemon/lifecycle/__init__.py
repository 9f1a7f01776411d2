"""Starting, stopping, and being the one daemon of its name."""
