"""Adapters of hosts, one file each: from what a host asks to a `Gate`, and back.

Nothing is imported here, so that each adapter needs its own host only.
"""
