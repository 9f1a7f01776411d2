"""The serve recipe: nets for many conversations at once, in TPU-MLIR's own dialect."""
