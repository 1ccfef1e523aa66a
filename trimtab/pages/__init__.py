"""What people look at: validation.py (a failed or passed suite), evaluation.py (how models rank and calibrate)."""
