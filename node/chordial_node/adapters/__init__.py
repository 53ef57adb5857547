"""The edge: one technology a file, none knows another, each sees the boundary alone."""
