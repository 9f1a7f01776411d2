"""The ROUTER socket: hello, admission, streams with credit, cancel, attach, subscribe."""
