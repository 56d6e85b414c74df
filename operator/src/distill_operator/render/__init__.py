"""Pure rendering: from decisions to Kubernetes manifests."""
