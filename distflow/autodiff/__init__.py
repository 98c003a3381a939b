"""Gradients: tapes that watch operations, and one reverse sweep over what they saw."""

from distflow.autodiff.backward import UnconnectedGradients
from distflow.autodiff.custom_gradient import custom_gradient, recompute_grad
from distflow.autodiff.tape import GradientTape

__all__ = ["GradientTape", "UnconnectedGradients", "custom_gradient", "recompute_grad"]
