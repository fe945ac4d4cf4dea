"""Protections: pure engines that say whether a request may be sent, and when.

    budget.py    may this call be tried again?            a retry budget
    pace.py      when has the API's own budget room?      weighted rolling windows, in turn
    breaker.py   is this host worth asking?               a circuit breaker, and a place to wait
    bulkhead.py  how many calls at a time?                a limit, fixed or learned, and a queue
    hedge.py     is this answer late?                     a second request, within a budget

Law of this folder: an engine has no clock, no randomness and no I/O. Monotonic time comes in, a decision goes out.
Threads may share one; a forked worker makes its own.
"""
