"""TPU-MLIR, the vendor's compiler: finding it, installing it, running its tools."""
