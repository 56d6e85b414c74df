"""Generator: a causal language model learns to answer from a context as its teacher does."""
