"""Replicas of the model: where they run, who runs on them, and what happens when one dies."""
