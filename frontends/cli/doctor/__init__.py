"""What `glmd doctor` looks at: one function a question, each answering with a Finding."""
