"""The graphs of `tf.data` datasets: to copy a dataset, send it and tell what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf


def graph_of(dataset: tf.data.Dataset, policy: int = 2) -> bytes:
    """Return the graph of a dataset, which `dataset_of` makes one of again; policy as `_proto`."""
    proto = _proto(dataset, policy)
    # TensorFlow has copies in the process go on with the random state that these name.
    for _, handle in _handles(proto):
        handle.Clear()
    return proto.SerializeToString(deterministic=True)


def _proto(dataset: tf.data.Dataset, policy: int) -> Any:
    # 1 ignores and 2 refuses what lives in this process alone, such as a Python generator.
    variant = tf.data.experimental.to_variant(dataset)
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=policy)
    return tf.compat.v1.GraphDef.FromString(graph.numpy())


def _handles(proto: Any) -> Iterator[tuple[Any, Any]]:
    """The nodes of a dataset's graph that shuffle or cache, and what names their state."""
    constants = {node.name: node.attr["value"].tensor for node in proto.node if node.op == "Const"}
    for node in [node for node in proto.node if node.op.startswith(("Shuffle", "Cache"))]:
        for name in {name.partition(":")[0] for name in node.input} & set(constants):
            for handle in constants[name].resource_handle_val:
                yield node, handle


def reshuffles(value: Any) -> set[str]:
    """Name the steps of a dataset that shuffle it anew in each epoch; none of another value."""
    if not isinstance(value, tf.data.Dataset):
        return set()
    found = _handles(_proto(value, policy=1))
    return {handle.name for node, handle in found if node.attr["reshuffle_each_iteration"].b}


def dataset_of(graph: bytes, spec: Any) -> tf.data.Dataset:
    """Return the dataset of a graph, with the `element_spec` of the first one."""
    return tf.data.experimental.from_variant(tf.raw_ops.DatasetFromGraph(graph_def=graph), spec)


def content_of_graph(graph: bytes) -> Iterator[bytes]:
    """The constants of a dataset's graph, and the rest as text, with numbers of its own.

    TensorFlow counts functions and lookup tables through the whole process.
    """
    proto = tf.compat.v1.GraphDef.FromString(graph)
    functions = {f.signature.name: f for f in proto.library.function}
    # In the order of their numbers, and so a name after one that it begins with.
    names = sorted(functions, key=lambda name: re.sub(r"\d+", lambda n: n[0].zfill(12), name))
    parts = [*proto.node, *map(functions.get, names)]
    for node in [node for part in parts for node in getattr(part, "node_def", [part])]:
        yield node.attr["value"].SerializeToString(deterministic=True)
        for name in ("value", "metadata", "shared_name"):
            node.attr.pop(name, None)
    own = {name: f"function_{number}" for number, name in enumerate(names)}
    counted = "|".join([r"FromGraphDef/\d+/\d+", *map(re.escape, reversed(names))])
    yield re.sub(counted, lambda m: own.get(m[0], ""), "".join(map(str, parts))).encode()
