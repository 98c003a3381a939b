"""Operations: the closed set in `prims`, and everything else as compositions of it."""
