"""The gateway: one long-lived service in front of all models.

Where to go to change ...

==========================================  ==============================
what a request may look like                ``protocol.py``, ``columns.py``
how requests become batches, and are logged ``batching.py``
how a scorer is called                      ``scorer.py``
addresses and their answers                 ``gateway.py``
how a route is switched                     ``switchboard.py``
what a route is, and where routes are kept  ``routes.py``
who may move a route                        ``tokens.py``
how Python code talks to the gateway        ``client.py``
==========================================  ==============================
"""
