"""distflow: TensorFlow 2's API for training on one machine or many, with reproducible bits."""

__version__ = "0.1.0"
