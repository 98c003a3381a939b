"""The closed set of numeric primitives, one record each."""
