"""The names that everybody must spell alike: labels, annotations, ports, paths, object names."""

GROUP = "chordial.dev"
VERSION = "v1alpha1"
FIELD_MANAGER = "chordial-operator"
