"""The life of one request: prompt → token ids → tokens → text, tool calls, usage."""
