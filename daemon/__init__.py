"""The long-lived side: owns devices and models, serves them over the wire."""
