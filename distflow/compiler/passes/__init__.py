"""Passes: pure functions from Graph to Graph that keep its meaning and the order of effects."""
