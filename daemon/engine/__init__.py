"""The engine child: a process that owns one backend and decodes all its sequences in one batch.

It knows token ids and logits; text, sessions, clients and the network are the core's.
"""
