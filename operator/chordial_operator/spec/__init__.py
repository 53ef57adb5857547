"""What users asked for: custom resources parsed into structs, or refused with a sentence."""
