"""The stages: each reads top to bottom like its paragraph in the guide."""
