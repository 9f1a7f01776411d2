"""From a checkpoint to what a backend loads."""
