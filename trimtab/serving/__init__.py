"""The gateway: one long-lived service in front of all models.

Where to go to change ...

==========================================  ==========================================
what a request may look like, its answer    ``protocol/``, by content type ``content.py``
how requests become batches, and are logged ``batching.py``, ``block.py``
how a scorer is called                      ``scorer.py``
addresses and their answers                 ``gateway.py``, to read ``reading.py``
how a route is switched                     ``switchboard.py``
what a route is, and where routes are kept  ``routes.py``, ``files.py``
who may do what, and what is denied         ``access.py``
what a token is, and how it is made         ``tokens.py``, ``token_store.py``
what a connection is proved with            ``tls.py``
what those see who operate it               ``operations.py``, ``metrics.py``, ``logs.py``
how Python code talks to the gateway        ``client.py``
==========================================  ==========================================
"""
