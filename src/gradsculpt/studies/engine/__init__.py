"""Tasks that are done once and kept: how they are told apart, stored, and given to processes or machines."""
