"""Pure rendering: from spec and decision to Kubernetes manifests."""
