"""Studies: the claims of the field as questions, answered by controlled experiments."""
