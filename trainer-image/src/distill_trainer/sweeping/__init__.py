"""Sweeps: several students of one job, of which the one that validates best goes on."""
