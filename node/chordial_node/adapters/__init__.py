"""The edge: one technology a file, none of them knows another, all of them see the boundary."""
