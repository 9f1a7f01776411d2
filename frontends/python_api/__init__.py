"""`glmd.Client` and `glmd.AsyncClient`."""
