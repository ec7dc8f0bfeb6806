"""Proofs that the hooks of coding agents block, as they are wired on this machine."""
