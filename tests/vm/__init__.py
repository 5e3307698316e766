"""Two whole virtual machines, for what containers cannot show; README.md says how to use them."""
