"""The contract: what users may write and what our programs say to each other."""
