"""Many orders over many real bridges while everything breaks; then the books are compared."""
