"""What talks to people and to other programs: command line, reports."""
