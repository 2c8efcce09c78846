"""What the functions share; no module in here knows a function."""
