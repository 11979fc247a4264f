"""Look inside convolutional speech recognisers."""
