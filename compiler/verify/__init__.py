"""Each net of a bmodel on the simulator, against torch."""
