"""From labelled texts to records that a student can learn from."""
