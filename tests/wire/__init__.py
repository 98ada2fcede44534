"""Tests of the protocol without I/O: nothing here opens a socket or waits."""
