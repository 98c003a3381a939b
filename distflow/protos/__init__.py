"""Generated from protos/*.proto; do not edit (protos/README.md says how)."""
