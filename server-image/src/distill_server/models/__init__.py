"""Models: a folder becomes a function from token sequences to vectors or scores."""
