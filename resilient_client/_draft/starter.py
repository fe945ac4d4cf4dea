"""A policy to begin with, for whoever has an error page and nothing else.

Law of this file: every line of the starter is true of the format. Lines that begin with `#` and no space after it are settings that
are switched off; with any of them switched on, the file still loads and passes `check`.
"""

from __future__ import annotations

from .writing import value

__all__ = ["starter"]


def starter(name: str, extends: str | None) -> str:
    """Write the starter of a policy; `extends` is the policy that it starts from, None for none."""
    head = _HEAD.replace("NAME", value(name))
    if extends is None:
        return head + _SETTINGS + _RULES + _SERVER_ERRORS
    if extends == "default":
        return head + _ON_DEFAULT + _SETTINGS + _RULES
    return head + _ON_ANOTHER.replace("BASE", value(extends))


_HEAD = """\
# What one API does when it fails, and what the client does about it. To be finished from the vendor's error page: put its words
# in the place of these, and take out what does not apply. The reference is docs/policy-format.md; `resilient-client check` tells
# what is wrong, and `resilient-client explain` what the client would do with a reply.
#
# Durations are seconds. A line that begins with # and no space after it is a setting that is switched off.

api = NAME
title = NAME                                    # what people call it
source = "https://vendor.example/errors"        # the page that lists the errors; a rule may name a closer one
"""

_ON_DEFAULT = """\
extends = "default"                             # what is not said here is as the standards have it
"""

_SETTINGS = """\

# Where an error's body keeps its parts, as JSON pointers: these are for {"error": {"code": "x", "message": "y"}}. Of a list of
# places, the first that finds something counts; * stands for each element of an array.

[envelope]
code = "/error/code"                            # a string or an integer, and what tells errors apart
message = "/error/message"                      # for people; it is never looked at
#field = "/error/field"                         # which field was wrong
#details = "/error/details"
#request_id = "/error/request_id"               # what the vendor's support asks for
#request_id_header = ["X-Request-Id"]           # the same in a header, which counts before the body

# With a key, a request can be sent twice and is carried out once. Without one, a POST whose answer was lost is not sent again.

[idempotency]
header = "Idempotency-Key"
#field = "/idempotency_key"                     # for an API that takes it in the JSON body
#length = [8, 128]                              # characters; a key outside is refused before anything is sent
routes = ["POST /v1/orders"]                    # where a key is made for each call that brings none

# What the vendor publishes of budgets, in units for each stretch of seconds. A call costs 1 where nothing else is said.

#[pace]
#budget = 600
#per = 60
#cost = { "POST /v1/orders" = 10 }

# How long a token lives that does not say so itself.

#[token]
#lifetime = 3600

# The longest wait; a server that asks for more ends the call.

#[limits]
#wait = 300

"""

_RULES = """\

# The first rule that matches a reply counts, so what asks for more stands before what asks for less. A rule without `retry` is
# final. Each proves itself: `given` is a reply as the vendor shows it, `expect` what the client does when it gets no other.

# ---- Final: the same request would only fail again

[[rules]]
name = "BAD_REQUEST"
when = { status = 400 }
category = "validation"
cause = "A field is missing, or has a value that the API does not take."
remedy = "Correct the field that the reply names."
user_message = "Some details are not valid. Please check them and try again."

[[rules.examples]]
given = { status = 400, json = { error = { code = "invalid_amount", message = "amount must be above 0" } } }
expect = { retry = false, reason = "not_retryable" }

# ---- Sent again once, with a new token: where the client holds something that can sign in (TokenAuth)

[[rules]]
name = "TOKEN_EXPIRED"
when = { status = 401, code = "token_expired" }
category = "auth"
cause = "The token is past its life."
remedy = "The client signs in anew and sends the call again, once."
user_message = "Please sign in again."
retry = { retries = 1, wait = 0, change = ["refresh"], unsafe = true }      # unsafe: for any method, as nothing was done

[[rules.examples]]
given = { status = 401, json = { error = { code = "token_expired" } }, token = "expired" }
expect = { retry = true, waits = [0], change = ["refresh"] }

[[rules.examples]]                              # nothing to sign in with: the reply goes to the caller
given = { status = 401, json = { error = { code = "token_expired" } } }
expect = { retry = false, reason = "cannot_change" }

# ---- Sent again on a schedule: a conflict that passes

[[rules]]
name = "LOCK_TIMEOUT"
when = { status = 409, code = "lock_timeout" }
category = "conflict"
cause = "Another request held the object's lock for too long."
remedy = "Sent again after a short wait; if it persists, look for two writers on one object."
user_message = "This item is busy. Please try again in a moment."
retry = { schedule = [1, 3], unsafe = true }

[[rules.examples]]
given = { status = 409, json = { error = { code = "lock_timeout" } }, method = "POST" }
expect = { retry = true, waits = [1, 3] }

# ---- A 429 that waiting does not mend, before the one that it does

[[rules]]
name = "QUOTA_EXCEEDED"
when = { status = 429, code = "quota_exceeded" }
category = "quota"
cause = "The account's calls for this month are used up."
remedy = "Raise the plan, or wait for the next month."
user_message = "This service is not available at the moment. Please contact support."

[[rules.examples]]
given = { status = 429, json = { error = { code = "quota_exceeded" } } }
expect = { retry = false, reason = "not_retryable" }

# ---- A rate limit: sent again when the server says that there is room, else at growing distances

[[rules]]
name = "TOO_MANY_REQUESTS"
when = { status = 429 }
category = "rate_limit"
cause = "More calls came in a short time than this account may make."
remedy = "Sent again when the server says so. Where it keeps happening, spread the calls."
user_message = "We are busy at the moment. Please try again in a minute."

[rules.retry]
after = ["Retry-After", { header = "X-RateLimit-Reset", as = "reset" }]     # the first that can be read counts
backoff = { first = 0.5, factor = 2, max = 30 }
unsafe = true                                   # a 429 was refused, and nothing was done

[[rules.examples]]
given = { status = 429, headers = { Retry-After = "7" }, method = "POST" }
expect = { retry = true, waits = [7, 7, 7, 7], retry_after = 7 }

[[rules.examples]]                              # longer than anybody waits: the caller is told instead
given = { status = 429, headers = { Retry-After = "86400" } }
expect = { retry = false, reason = "wait_too_long" }

# ---- Maintenance: sent again for some time, where that is safe (without unsafe: idempotent methods, and calls with a key)

[[rules]]
name = "MAINTENANCE"
when = { status = 503, code = "maintenance" }
category = "maintenance"
cause = "The service is being updated."
remedy = "Sent again for two minutes, where that is safe."
user_message = "The service is being updated. Please try again in a few minutes."
retry = { retries = 20, for = 120, backoff = { first = 1, max = 30 } }

[[rules.examples]]
given = { status = 503, json = { error = { code = "maintenance" } } }
expect = { retry = true }

[[rules.examples]]                              # a POST without a key might be carried out twice
given = { status = 503, json = { error = { code = "maintenance" } }, method = "POST" }
expect = { retry = false, reason = "not_retryable" }

# ---- An error inside a 200. With such a rule the client reads JSON bodies of this status, which it otherwise leaves alone

#[[rules]]
#name = "THROTTLED"
#when = { status = 200, code = "throttled" }
#category = "rate_limit"
#cause = "Too many calls came in this second."
#remedy = "Sent again after the pause that the body names."
#user_message = "We are busy at the moment. Please try again."
#retry = { retries = 2, after = ["/error/retry_in"], wait = 1, unsafe = true }

#[[rules.examples]]
#given = { status = 200, json = { error = { code = "throttled", retry_in = 2.5 } } }
#expect = { retry = true, waits = [2.5, 2.5], retry_after = 2.5 }
"""

_SERVER_ERRORS = """\

# ---- All other failures of the server: where that is safe, up to four times at growing distances

[[rules]]
name = "SERVER_ERROR"
when = { status = "5xx" }
category = "server"
cause = "The server failed in a way of its own."
remedy = "Sent again where that is safe; if it stays, give the vendor the request id and the time."
user_message = "Something went wrong on our side. Please try again in a moment."
retry = {}

[[rules.examples]]
given = { status = 500, text = "Internal Server Error" }
expect = { retry = true, waits = [0.5, 1, 2, 4] }
"""

_ON_ANOTHER = """\
extends = BASE

# What is not said here is as the policy has it that this one extends (`resilient-client show` tells how). Tables are merged
# key by key. A rule of the same name takes the place of its namesake; all others are asked before the inherited ones. `codes`
# gives a code to a rule that waits for one: codes = { NAME_OF_THE_RULE = 4230 }.

[[rules]]
name = "LOCKED"
when = { status = 423 }
category = "conflict"
cause = "Somebody else is working on the object."
remedy = "Sent again after a short wait; if it persists, look for two writers on one object."
user_message = "This item is busy. Please try again in a moment."
retry = { schedule = [1, 3], unsafe = true }    # without `retry` an error is final; unsafe: for any method

[[rules.examples]]                              # a reply, and what the client does when it gets no other
given = { status = 423, method = "POST" }
expect = { retry = true, waits = [1, 3] }
"""
