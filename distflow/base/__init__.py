"""Words that every room uses: errors, dtypes, shapes, nested structures, settings, logs."""
