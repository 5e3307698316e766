"""The configuration: text in, values and findings out."""
