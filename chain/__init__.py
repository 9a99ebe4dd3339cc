"""The record: broadcast, total order, membership, the block store. Only store.py touches the disk."""
