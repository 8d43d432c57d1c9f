"""What the experiments share: protocols, published numbers, output."""
