"""What is to happen next: who joins, leaves, is replaced, is upgraded. Pure functions."""
