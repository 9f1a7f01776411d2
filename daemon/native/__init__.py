"""The C++ engine: backends and the native sampler, bound with pybind11.

The compiled module is imported by the engine child alone; the core process never loads it.
"""
