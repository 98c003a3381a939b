"""What a running job tells of itself: a timeline, metrics, and what each step has cost."""
