"""What each command does; its options are its parameters, their help is its docstring."""
