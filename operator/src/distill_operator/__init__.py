"""The decisions: from what is seen in the cluster to what should be there."""
