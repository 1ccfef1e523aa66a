"""What the gateway and the scorer both speak: HTTP/1.1 and V2 tensors.

==============================================  ==================
a server, its start and its stop                ``http.py``
a request, its exchange, what callers may cost  ``exchange.py``
one caller's connection, byte by byte           ``connection.py``
what the connections of a server share          ``shared.py``
heads that need not be parsed again             ``heads.py``
tensors in JSON and in binary                   ``tensors.py``
memory that is kept from batch to batch         ``heap.py``
==============================================  ==================

It runs inside model images too, so it imports numpy, msgspec, httptools and uvloop only.
"""
