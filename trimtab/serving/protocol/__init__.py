"""What a request may look like, and its answer.

=====================================================  ==================
what a checked request is, times, JSON                 ``rows.py``
V2's infer requests, with binary tensors               ``infer.py``
MLflow's and SageMaker's ``/invocations``              ``invocations.py``
the same forms for one route, decoded and checked      ``typed.py``
at once: the fast way of a request that is as asked
whether columns are what the features take             ``columns.py``
answers                                                ``answers.py``
=====================================================  ==================

Whatever is wrong is refused with 400, naming column, row, value and what would be right.
"""

from trimtab.serving.protocol.answers import Answers
from trimtab.serving.protocol.rows import Rows, decode, parse_time
from trimtab.serving.protocol.typed import RouteParser

__all__ = ["Answers", "RouteParser", "Rows", "decode", "parse_time"]
