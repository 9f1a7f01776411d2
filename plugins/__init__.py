"""The plugins that ship with glmd."""
