"""trimtab: what is decided, recorded and served. Pure rules, records and the data plane.

Where to go to change ...

========================================  ==========================================
what a model folder may say               ``spec/``, read by ``models.py``
what is trained on, and what comes of it  ``training/``
when a candidate may replace a champion   ``gates.py``
when a model has decayed                  ``decay/policy/``, ``decay/distance.py``
what is remembered, and its proof         ``records/``, ``ledger.py``
how a request is answered and logged      ``serving/``, ``predictions/``
what runs inside a model image            ``scoring/``
how images, environments, processes are   ``release/``
how one prediction is traced back         ``lineage/``
what people look at                       ``pages/``
which services make a stack               ``services/``
a setting                                 ``settings.py``
a command                                 ``cli/``
========================================  ==========================================

Nothing in here imports prefect, great_expectations, evidently or docker: those live in ``tasks/``.
"""

__version__ = "0.1.0"
