"""Ours and its peers, measured side by side: ``make bench``; see README.md there."""
