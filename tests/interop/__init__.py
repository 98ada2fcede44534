"""Python and Node in one cluster: real processes, and the original from npm."""
