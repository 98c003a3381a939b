"""A tensor, an operation record, and the single place where operations happen."""
