"""What label, prepare, train and evaluate do, for each component of a retrieval pipeline."""
