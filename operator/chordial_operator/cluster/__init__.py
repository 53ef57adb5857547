"""The API server: what is asked of it, how it refuses, and the one client that asks."""
