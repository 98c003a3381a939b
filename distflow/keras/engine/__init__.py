"""The Keras engine: layers, symbolic tensors, and the models that are made of them."""
