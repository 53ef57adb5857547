"""What users are told: conditions and numbers, derived from specs and observed peers."""
