"""Reading .bmodel files: which nets they hold and what those can do. Needs neither TPU-MLIR nor a
device."""
