"""What should be there: pure builders of Kubernetes manifests from specs and observed peers."""
