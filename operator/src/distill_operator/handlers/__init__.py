"""kopf in, kopf out: see, decide, act and nothing else."""
