"""The training loop, own and short: order, batches, forward, loss, step, checkpoint."""
