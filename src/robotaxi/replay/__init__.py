"""A recorded bag through the stack's own perception node, with pictures of what it sees."""
