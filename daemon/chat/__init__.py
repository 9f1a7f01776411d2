"""ChatGLM3's prompt, and the tool calls in its answers."""
