"""The seed recipe: the nets that the vendor's demo programs for ChatGLM3 expect."""
