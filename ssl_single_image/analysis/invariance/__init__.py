"""What the layers of an encoder ignore, what they follow, and which places of two pictures they match."""
