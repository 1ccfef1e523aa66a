"""What the gateway and the scorer both speak: HTTP/1.1 (``http.py``) and V2 tensors (``tensors.py``).

It runs inside model images too, so it imports numpy, msgspec, httptools and uvloop only.
"""
