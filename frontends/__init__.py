"""Thin clients of the daemon: none of them knows tokens, engines or devices."""
