"""What time or a crash left behind: one module a step, each with a `run_once` that returns counts."""
