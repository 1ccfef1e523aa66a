"""``make demo``: the whole loop on a real year, the 336,776 New York flights of 2013.

__main__.py (the command) · home.py (a clean home) · course.py (the order of the acts) · replay.py (which flights and
outcomes are sent when: pure) · traffic.py (sends them over HTTP) · chase.py (follows the runs that rulings start) ·
baselines.py (never and monthly retraining, on the same flights) · figures.py (what came of each) · screen.py, plot.py,
page.py (showing it)
"""
