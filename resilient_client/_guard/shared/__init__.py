"""The same protections, shared by processes through a Redis or Valkey server. `resilient_client.shared` is its door.

    link.py      is the server there, and what does it say?     connections, scripts, being away
    store.py     RedisStore: what a client is given
    pace.py      SharedPacer    pace.lua                        one line and one budget for all
    local.py     what a process may send while the server is away
    breaker.py   SharedBreaker  breaker.lua
    budget.py    SharedBudget   budget.lua
    tokens.py    TokenShelf: a token that one process signs in for

Laws of this folder: a decision is one script, so that no two processes decide at a time, and it goes by the server's clock;
what comes back is seconds from now, for no two machines have the same clock. Questions block: an asynchronous caller
asks in a thread. What is told late makes nobody less careful.
"""
