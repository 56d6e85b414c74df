"""Quantising: a trained student becomes smaller, and what that costs is measured."""
