"""The commands about a job that was submitted: one file each, the same for every system."""
