"""Training: compile's containers, the adapters of data, the steps, and the loops."""
