"""Replicas: all that maps are made of, in a process without tables and policy, kept up to date by events.

`Feed` tells of what changes, `Replica` holds it and answers. How events travel is not their
concern; they arrive in order.
"""

from ghostwire.coordinator.replica.events import Batch, decode_batch, encode_batch
from ghostwire.coordinator.replica.feed import Feed
from ghostwire.coordinator.replica.replica import Known, Replica

__all__ = ["Batch", "Feed", "Known", "Replica", "decode_batch", "encode_batch"]
