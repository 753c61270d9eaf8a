"""Topic filters and topics as trees, so that a thousand subscriptions cost no more than a few."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.values: dict[str, T] = {}


class TopicTree(Generic[T]):
    """Values under topics or topic filters, each value with a key that is unique at its place."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def put(self, topic: str, key: str, value: T) -> None:
        node = self._root
        for level in topic.split("/"):
            node = node.children.setdefault(level, _Node())
        node.values[key] = value

    def drop(self, topic: str, key: str) -> bool:
        """Whether it was there."""
        path = [self._root]
        levels = topic.split("/")
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return False
            path.append(child)
        found = path[-1].values.pop(key, None) is not None
        for parent, level, node in zip(reversed(path[:-1]), reversed(levels), reversed(path[1:]), strict=True):
            if node.values or node.children:
                break
            del parent.children[level]
        return found

    def filters_of(self, topic: str) -> Iterator[tuple[str, T]]:
        """The values whose filter matches ``topic``."""
        levels = topic.split("/")
        hidden = topic.startswith("$")  # $SYS and its like are not matched by a wildcard at the top
        stack: list[tuple[_Node[T], int]] = [(self._root, 0)]
        while stack:
            node, depth = stack.pop()
            wild = not (hidden and depth == 0)
            if wild and (rest := node.children.get("#")) is not None:
                yield from rest.values.items()
            if depth == len(levels):
                yield from node.values.items()
                continue
            if (child := node.children.get(levels[depth])) is not None:
                stack.append((child, depth + 1))
            if wild and (child := node.children.get("+")) is not None:
                stack.append((child, depth + 1))

    def topics_of(self, topic_filter: str) -> Iterator[tuple[str, T]]:
        """The values whose topic is matched by ``topic_filter``."""
        levels = topic_filter.split("/")
        stack: list[tuple[_Node[T], int]] = [(self._root, 0)]
        while stack:
            node, depth = stack.pop()
            if depth < len(levels) and levels[depth] == "#":
                yield from self._all(node)
            elif depth == len(levels):
                yield from node.values.items()
            elif levels[depth] == "+":
                stack += [(child, depth + 1) for child in node.children.values()]
            elif (child := node.children.get(levels[depth])) is not None:
                stack.append((child, depth + 1))

    def _all(self, node: _Node[T]) -> Iterator[tuple[str, T]]:
        stack = [node]
        while stack:
            node = stack.pop()
            yield from node.values.items()
            stack += node.children.values()
