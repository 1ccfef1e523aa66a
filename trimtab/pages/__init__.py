"""What people look at: front.py (every model and its rulings), validation.py (a failed or passed suite),
evaluation.py (how models rank and calibrate); document.py and colours.py are what pages share."""
