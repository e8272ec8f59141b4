"""Whether a new model may take the champion's place: a decision with its numbers, and nothing else."""
