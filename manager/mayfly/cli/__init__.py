"""The command line: each verb asks the manager, renders the answer and exits."""
