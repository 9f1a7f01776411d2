"""Which model serves: what requests hold on to, and how it is exchanged while they run."""
