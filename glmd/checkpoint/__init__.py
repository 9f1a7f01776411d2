"""Reading ChatGLM3 checkpoints, and the packed files made from them."""
