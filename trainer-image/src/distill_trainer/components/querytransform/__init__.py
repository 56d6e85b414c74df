"""Query transform: a small model learns to expand or rewrite a query as its teacher does."""
