"""The operator: runs overlays of Chordial on Kubernetes as custom resources.

Three pure functions and one write (parse the spec, build what should be, derive the conditions,
apply), level-triggered; the peers do everything else and go on without it.
"""
