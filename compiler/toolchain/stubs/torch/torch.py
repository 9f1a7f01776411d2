"""Stands in for torch in TPU-MLIR's Python: its ONNX route imports torch and calls nothing."""
