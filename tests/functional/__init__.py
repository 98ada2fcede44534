"""The promises of the toolkit, kept by real processes."""
